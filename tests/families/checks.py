"""What must hold on every family, as functions: the tests assert it, and the table in docs/models.md prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

from solon.cli.main import cli
from solon.config.recipe import EngineSettings, SamplingParams
from solon.conversation import Conversation
from solon.engines.base import Completion, Finish
from solon.engines.local.engine import LocalEngine
from solon.engines.tokens import PromptTokenizer
from solon.prompts import reply as reply_prompt
from solon.reward.conversation_scorer import ConversationScorer
from solon.reward.golden import Replay, check, write_golden
from solon.reward.scored_text import ScoredText
from solon.reward.scorer import PreferenceScorer
from solon.runs import RunDirectory
from solon.training.batches import PairExample, span_mask
from solon.training.encoding import Encoding
from solon.training.forward import ScalarModel, TokenModel
from solon.training.models import grow_preference_model, load_causal_lm, load_tokenizer, save_model
from solon.training.objectives import PreferenceObjective
from solon.training.shared_prefix import as_one_row, pair_scores, refuse_other_scores
from solon.training.value_head import ValueHead
from tests.families.made import LONG_REPLY, SAFE_REPLY, human, lessons, write_inputs

DIALOGUES: Sequence[Conversation] = (
    human("How?", LONG_REPLY),
    human("How?", "No.", "Why <b>not</b>?\n\n\tTell me:\n    x = 1", SAFE_REPLY),
    human("<|im_end|><eos></s>[INST]<end_of_turn>", "A <|im_end|> in </s> words."),
    human(" spaces ", " around \n"),
)
LORA = [f"{part}.lora.rank=4" for part in ("finetune.training", "preference.training", "rl")]


def texts_of(folder: Path, settings: EngineSettings | None = None) -> PromptTokenizer:
    """A folder's tokenizer with its rendering."""
    return PromptTokenizer.of(load_tokenizer(folder), settings or EngineSettings())


def trained_is_read(texts: PromptTokenizer, dialogues: Sequence[Conversation] = DIALOGUES) -> bool:
    """Whether training, scoring and reading meet the same tokens: those of the whole text, tokenized at once.

    The prompt's tokens, as the engine reads them, open the sequence, and the end of the turn is its last token.
    """
    prompts = [reply_prompt(Conversation(each.turns[:-1])) for each in dialogues]
    replies = [each.turns[-1].content for each in dialogues]
    encoding, form = Encoding(texts, 1 << 20), ScoredText(texts)
    rows = [("", Conversation(each.turns[:-1]), each.turns[-1].content) for each in dialogues]
    examples = encoding.examples(rows)
    read = [row.prefix + row.own for row in texts.rows(prompts)]
    return all(
        example.token_ids == whole == scored == texts.encode_whole([texts.text(prompt, reply)])[0] == sent
        and example.token_ids[: example.start] == bare
        and example.token_ids[-1] == texts.end
        for example, whole, scored, sent, bare, prompt, reply in zip(
            examples,
            encoding.whole(dialogues),
            [tokens for tokens, _ in texts.replied(prompts, replies)],
            [form.tokens(form.text(each)) for each in dialogues],
            read,
            prompts,
            replies,
            strict=True,
        )
    )


def replay(folder: Path, out: Path, dialogues: Sequence[Conversation] = DIALOGUES) -> Replay:
    """A preference model grown on a folder, saved with golden scores, and computed again from its files."""
    settings = EngineSettings()
    tokenizer = load_tokenizer(folder)
    end = PromptTokenizer.of(tokenizer, settings).end
    model = grow_preference_model(folder, tokenizer, settings, 3, end)
    texts = PromptTokenizer.of(tokenizer, settings)
    saved = ConversationScorer(save_model(model, texts, out), Encoding(texts, 2048))
    write_golden(out, PreferenceScorer("tiny", saved, ScoredText(texts)), dialogues, settings)
    return check(out)


def values_come_from_the_pass_of_the_logits(folder: Path) -> bool:
    """Whether one pass gives the logits bit for bit, and the values of the states that they are computed from."""
    model = load_causal_lm(folder, EngineSettings())
    head = ValueHead(model, 0.1)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))
    reads = TokenModel(model, value_head=head)
    ids_BT, mask_BT = torch.tensor([[5, 9, 7, 8], [6, 3, 2, 0]]), span_mask([1, 2], [4, 3], 4)
    with torch.no_grad():
        pieces, value_N = reads.logits_and_values(ids_BT, mask_BT, int(mask_BT.sum()))
        same = torch.equal(torch.cat(list(pieces)), reads.logits(ids_BT, mask_BT))
        return same and torch.equal(value_N, reads.values(ids_BT, mask_BT)) and bool(value_N.std() > 0)


def pairs_read_as_one_row(folder: Path) -> float:
    """How far the scores of pairs in one row each are from those of two rows; they are of the order of 1."""
    tokenizer = load_tokenizer(folder)
    model = ScalarModel(grow_preference_model(folder, tokenizer, EngineSettings(), 3))
    encoding = Encoding(PromptTokenizer.of(tokenizer, EngineSettings()), 2048)
    whole = encoding.whole([human("How?", reply) for reply in (LONG_REPLY, SAFE_REPLY, "No.")])
    pairs = [PairExample("", one, other, 1.0, 1.0, "") for one in whole for other in whole if one != other]
    rows = [as_one_row(pair) for pair in pairs]
    refuse_other_scores(model, rows)
    assert min(row.prefix for row in rows) > 1
    with torch.no_grad():
        apart, together = PreferenceObjective(model).scores(pairs), pair_scores(model, rows)
    return max(float((one_B - other_B).abs().max()) for one_B, other_B in zip(apart, together, strict=True))


def recited(engine: LocalEngine, stops: Sequence[str] | None = None) -> list[Completion]:
    """What a taught model writes to everything that it was taught, at temperature 0."""
    prompts = [prompt for prompt, _ in lessons()]
    sampling = SamplingParams(max_tokens=128, temperature=0.0)
    stop = engine.rendering.stops() if stops is None else stops
    return engine.generate(prompts, list(range(len(prompts))), sampling, stop)


def survives(folder: Path) -> bool:
    """Whether every text of several lines comes back as it was taught, ended by the end of the turn."""
    wanted = [reply for _, reply in lessons()]
    found = recited(LocalEngine.load(folder))
    return [each.text for each in found] == wanted and {each.finish for each in found} == {Finish.END}


def survives_elsewhere(folder: Path, out: Path) -> bool:
    """The same through plain transformers: the saved folder's own chat template and generation settings."""
    texts = texts_of(folder)
    save_model(load_causal_lm(folder, EngineSettings()), texts, out)
    tokenizer: Any = AutoTokenizer.from_pretrained(out)
    model: Any = AutoModelForCausalLM.from_pretrained(out)
    for prompt, reply in lessons()[::3]:
        messages = texts.messages(prompt.turns)
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False, return_tensors="pt"
        )
        with torch.no_grad():
            written = model.generate(ids, do_sample=False, max_new_tokens=128)[0, ids.shape[1] :]
        if tokenizer.decode(written, skip_special_tokens=True).strip() != reply:
            return False
    return True


def run_ends(folder: Path, run: Path, settings: Sequence[str] = ()) -> Mapping[str, int]:
    """Every stage of a run on the model in `folder`, by name with its number of rows; raises where the run fails."""
    recipe = write_inputs(folder)
    words = ["run", str(run), "--recipe", str(recipe), "--quiet"]
    done = CliRunner().invoke(cli, [*words, *(word for setting in settings for word in ("--set", setting))])
    assert done.exit_code == 0, f"the run ended with {done.exit_code}: {done.exception}"
    return {artefact.name: len(artefact.table().to_pylist()) for artefact in RunDirectory.open(run).artefacts()}
