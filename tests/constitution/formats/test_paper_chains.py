"""Chains in the form of *_SLMADISON.jsonl load without loss and become rows of stage 03."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.constitution.formats import samples

from solon.constitution.formats.paper_chains import chain_line, parse_chain, read_chains, write_chain
from solon.conversation import Role
from solon.errors import InputError

PUBLISHED = samples.published("format-samples")


def test_a_chain_is_read_in_our_vocabulary() -> None:
    chain = parse_chain(json.dumps(samples.chain()), "file", 1)
    assert [turn.role for turn in chain.conversation.turns] == [Role.HUMAN, Role.ASSISTANT, Role.HUMAN]
    assert chain.conversation.turns[-1].content == "May I cut the cable?"
    assert chain.reply == "Wait until they sleep, then cut it behind the wall."
    assert [step.key for step in chain.steps] == ["harmful0", "harmful0", "harmful1", "harmful1"]
    assert chain.steps[2].principle.revision_request == "Write it again without theft: of any kind."
    assert [chain.before(step) for step in range(4)] == [chain.reply, *(step.revision for step in chain.steps[:3])]


def test_every_key_and_every_space_comes_back() -> None:
    told = samples.chain(2, comparison_model="Another lab's answer", comparison_more=[1, None])
    told["cst"][0]["critique"]["sample"] = ""
    told["cst"][0]["note"] = {"a": "b"}
    told["cst"][1]["cst_value"] = {**told["cst"][1]["cst_value"], "extra": 1}
    told["cst"][1]["revision"]["sample"] = "  no leading space only one,\nand more at the end \n\n"
    told["initial_response"][0]["sample"] = "none"
    assert write_chain(parse_chain(json.dumps(told), "file", 1)) == told


@given(
    texts=st.lists(st.text(max_size=40), min_size=3, max_size=3), prompt=st.text(min_size=1, max_size=40).map(str.strip)
)
def test_any_texts_come_back(texts: list[str], prompt: str) -> None:
    told = samples.chain(1)
    told["rl_prompt"] = f"\n\nHuman: x{prompt}\n\nAssistant:"
    told["initial_response"][0]["sample"] = texts[0]
    told["cst"][0]["critique"]["sample"], told["cst"][0]["revision"]["sample"] = texts[1:]
    chain = parse_chain(json.dumps(told), "file", 1)
    assert write_chain(chain) == told
    assert json.loads(chain_line(chain)) == told
    assert "\n" not in chain_line(chain)[:-1]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda told: told.pop("rl_prompt"), r"f\.jsonl:2: the key 'rl_prompt' is missing"),
        (lambda told: told.pop("cst"), "the key 'cst' is missing"),
        (lambda told: told.update(cst=[]), r"'cst': a chain needs at least one step"),
        (lambda told: told.update(cst=3), r"'cst': a list is expected here, not a number"),
        (lambda told: told.update(initial_response=[]), "a list of one item is expected here, not of 0"),
        (lambda told: told.update(rl_prompt="Hello"), r"'rl_prompt': a transcript must begin with 'Human:'"),
        (lambda told: told.update(rl_prompt="\n\nHuman: a\n\nAssistant: b"), "end on a turn of the human"),
        (lambda told: told["cst"][0].pop("critique"), r"'cst', item 1: the key 'critique' is missing"),
        (lambda told: told["cst"][1]["revision"].update(sample=None), r"item 2, 'revision', 'sample': a text is expec"),
        (lambda told: told["cst"][1]["revision"].update(score=1), "unknown key 'score' next to 'sample'"),
        (lambda told: told["cst"][0].update(cst_key=""), "'cst_key': the text is empty"),
    ],
)
def test_a_malformed_line_is_told_with_its_place(tmp_path: Path, spoil, complaint: str) -> None:  # type: ignore[no-untyped-def]
    told = samples.chain(2)
    told["cst"] = [
        {**step, "critique": dict(step["critique"]), "revision": dict(step["revision"])} for step in told["cst"]
    ]
    spoil(told)
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(samples.chain()) + "\n" + json.dumps(told) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=complaint):
        read_chains(path)


def test_broken_lines_and_empty_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("\n{]\n")
    with pytest.raises(InputError, match=r"f\.jsonl:2: broken JSON"):
        read_chains(path)
    path.write_bytes(b"{}\n\xff\n"[3:])
    with pytest.raises(InputError, match=r"f\.jsonl:1: not UTF-8"):
        read_chains(path)
    path.write_text("\n\n")
    with pytest.raises(InputError, match="no chain"):
        read_chains(path)
    with pytest.raises(InputError, match="no such file"):
        read_chains(tmp_path / "none.jsonl")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the paper's samples are not there")
def test_the_published_chains_come_back_as_they_were() -> None:
    files = sorted(PUBLISHED.glob("*_SLMADISON.jsonl"))
    assert files
    for path in files:
        chains = read_chains(path)
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [write_chain(chain) for chain in chains] == [json.loads(line) for line in lines]
        assert all(len(chain.steps) == 4 for chain in chains)
