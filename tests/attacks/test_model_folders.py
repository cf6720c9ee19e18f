"""Hostile model folders: nothing of theirs runs, nothing is asked, and each is refused in one line that names it.

Every folder is a tiny sound one that a test changes in one way. What would run leaves a mark, so that "nothing ran" is
seen and not assumed.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from solon.engines.base import Sampling
from solon.engines.local import LocalEngine
from solon.errors import ModelError
from solon.model_folders.check import check_folder
from solon.preferences import golden
from solon.preferences.scorer import open_scorer
from solon.recipe import EngineSettings
from solon.training import models
from tests.cli.test_cli import run
from tests.engines.tiny import question
from tests.training.tiny import asked, said, save_tiny_model, texts_of

SETTINGS = EngineSettings()
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer_config.json"
ELSEWHERE = "models--a--b"

Load = Callable[[Path], object]


def grow(folder: Path) -> object:
    tokenizer = models.load_tokenizer(folder)
    return models.grow_preference_model(folder, tokenizer, SETTINGS, seed=1)


ASKED: dict[str, Load] = {
    "asked": lambda folder: LocalEngine.load(folder, device="cpu"),
    "trained": lambda folder: models.load_causal_lm(folder, SETTINGS),
    "grown": grow,
}
SCORING: dict[str, Load] = {
    "scored": lambda folder: open_scorer(folder, SETTINGS),
    "checked": lambda folder: golden.plain_scores(folder, [[1, 2, 0]]),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model and a preference model that are as they should be."""
    folder = tmp_path_factory.mktemp("attacks")
    base = save_tiny_model(folder / "base", layers=1)
    tokenizer = models.load_tokenizer(base)
    models.save_model(models.grow_preference_model(base, tokenizer, SETTINGS, 1), texts_of(tokenizer), folder / "pm")
    return folder


@pytest.fixture
def base(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound / "base", tmp_path / "base"))


@pytest.fixture
def pm(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound / "pm", tmp_path / "pm"))


@pytest.fixture(autouse=True)
def nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who answers yes to everything, and a test that fails when somebody asks."""

    def ask(prompt: object = "") -> str:
        raise AssertionError(f"asked: {prompt}")

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def edit(file: Path, **changes: Any) -> None:
    """Set keys of a JSON file, made if need be."""
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, **changes}))


def bring_code(folder: Path, marks: Path, *, model_type: str | None) -> None:
    """Code for configuration, models, tokenizer and generation; `model_type` None keeps one that the library knows."""
    classes = {
        "AutoConfig": "evil_c.Config",
        "AutoModelForCausalLM": "evil_m.Model",
        "AutoModelForSequenceClassification": "evil_m.Model",
        "AutoTokenizer": ["evil_t.Tok", "evil_t.Tok"],
        "AutoProcessor": "evil_p.Proc",
    }
    edit(folder / CONFIG, auto_map=classes, **({"model_type": model_type} if model_type else {}))
    own = {"tokenizer_class": "Tok"} if model_type else {}
    edit(folder / TOKENIZER, auto_map={"AutoTokenizer": classes["AutoTokenizer"]}, **own)
    edit(folder / "processor_config.json", auto_map={"AutoProcessor": "evil_p.Proc"})
    edit(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil_p.Proc"})
    edit(folder / "generation_config.json", custom_generate="custom_generate", eos_token_id=0)
    (folder / "custom_generate").mkdir()
    names = ["evil_c.py", "evil_m.py", "evil_t.py", "evil_p.py", "custom_generate/generate.py", "__init__.py"]
    for number, name in enumerate(names):
        (folder / name).write_text(f"open({str(marks / str(number))!r}, 'w').write('ran')\n")


def refused(load: Load, folder: Path, *told: str) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(ModelError) as caught:
        load(folder)
    line = str(caught.value)
    assert str(folder) in line and "\n" not in line and caught.value.remedy
    for each in told:
        assert each in line, line
    return line


# Code of the folder's own.


@pytest.mark.parametrize("load", ASKED.values(), ids=ASKED)
def test_code_for_an_unknown_architecture_is_refused_without_a_question(base: Path, marks: Path, load: Load) -> None:
    bring_code(base, marks, model_type="evil")
    refused(load, base, "never run", "evil_c.Config")
    assert not list(marks.iterdir())


@pytest.mark.parametrize("load", SCORING.values(), ids=SCORING)
def test_a_preference_models_code_is_refused_too(pm: Path, marks: Path, load: Load) -> None:
    bring_code(pm, marks, model_type="evil")
    refused(load, pm, "never run")
    assert not list(marks.iterdir())


@pytest.mark.parametrize("load", [*ASKED.values()], ids=[*ASKED])
def test_of_a_known_architecture_the_librarys_own_class_is_taken(base: Path, marks: Path, load: Load) -> None:
    bring_code(base, marks, model_type=None)
    load(base)
    assert not list(marks.iterdir())


def test_and_answers_as_it_did_without_the_code(sound: Path, base: Path, marks: Path) -> None:
    bring_code(base, marks, model_type=None)
    told = [
        LocalEngine.load(folder, device="cpu").generate([question("bread")], [1], Sampling(6))
        for folder in (sound / "base", base)
    ]
    assert told[0] == told[1] and not list(marks.iterdir())


def test_a_known_architecture_that_needs_its_code_is_refused(base: Path, marks: Path) -> None:
    bring_code(base, marks, model_type=None)
    weights = load_file(base / WEIGHTS)
    weights["model.layers.0.secret.weight"] = torch.ones(2, 2)
    save_file(weights, base / WEIGHTS, {"format": "pt"})
    refused(ASKED["asked"], base, "have no use", "secret")
    assert not list(marks.iterdir())


@pytest.mark.parametrize("whole", [True, False])
def test_a_tokenizer_of_a_class_that_nobody_knows_is_refused(base: Path, marks: Path, whole: bool) -> None:
    bring_code(base, marks, model_type=None)
    edit(base / TOKENIZER, tokenizer_class="Tok")
    if not whole:
        (base / "tokenizer.json").unlink()
    refused(ASKED["asked"], base, "the tokenizer is code")
    assert not list(marks.iterdir())


def test_the_shared_case(sound: Path, tmp_path: Path, marks: Path) -> None:
    script = Path(__file__).parents[2].parent / "shared" / "cases" / "remote_code_folder.py"
    if not script.is_file():
        pytest.skip("no shared cases here")
    for name in ("base", "pm"):
        folder = Path(shutil.copytree(sound / name, tmp_path / name))
        before, sys.argv = sys.argv, [str(script), str(folder), str(marks)]
        try:
            exec(compile(script.read_text(), str(script), "exec"), {"__name__": "__main__"})
        finally:
            sys.argv = before
        for load in (ASKED if name == "base" else SCORING).values():
            refused(load, folder, "never run")
    assert not list(marks.iterdir())


# Through the command line.


def test_commands_refuse_code_in_one_line(
    base: Path, pm: Path, marks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (base, pm):
        bring_code(folder, marks, model_type="evil")
    labels = tmp_path / "labels.jsonl"
    row = {"prompt": asked("How ?"), "chosen": said("good"), "rejected": said("bad"), "p_chosen": 0.9}
    labels.write_text(f"{json.dumps(row)}\n" * 4)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": asked("How ?"), "response_a": "good", "response_b": "bad"}) + "\n")
    for command in (
        ("preference", tmp_path / "out", "--base", base, "--labels", labels, "-q"),
        ("serve-pm", pm, "--port", "0"),
        ("score", labels, "--model", pm),
        ("label", tmp_path / "labelled", pairs, "--set", f"models.feedback={base}", "-q"),
        ("run", tmp_path / "run", "--set", f"models.assistant={base}", "-q"),
    ):
        code, out, err = run(capsys, *command)
        assert (code, out, err.count("\n")) == (1, "", 1), (command, out, err)
        assert err.startswith("Error: ") and "never run" in err, err
    assert not list(marks.iterdir())


def test_a_run_names_the_part_that_the_folder_plays(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(base, float("nan"))
    code, _, err = run(capsys, "run", tmp_path / "run", "--set", f"models.assistant={base}", "-q")
    assert code == 1 and f"{base} (models.assistant): the weight" in err, err


# Pickles, and other ways to the hub.


class Leaves:
    """Unpickled, it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "training_args.bin"])
def test_a_pickle_is_never_read(base: Path, marks: Path, name: str) -> None:
    (base / name).write_bytes(pickle.dumps(Leaves(marks / "ran")))
    for load in ASKED.values():
        load(base)  # beside safetensors it does no harm
    (base / WEIGHTS).unlink()
    for load in ASKED.values():
        refused(load, base)
    assert not list(marks.iterdir())


def test_an_index_of_pickles_is_never_followed(base: Path, marks: Path) -> None:
    (base / WEIGHTS).unlink()
    (base / "one.bin").write_bytes(pickle.dumps(Leaves(marks / "ran")))
    edit(base / f"{WEIGHTS}.index.json", weight_map={"model.norm.weight": "one.bin"}, metadata={})
    for load in ASKED.values():
        refused(load, base, "'one.bin'")
    assert not list(marks.iterdir())


@pytest.mark.parametrize("named", ["someone/base", "../../base", "/etc"])
@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_leads_nowhere(base: Path, named: str, whole: bool) -> None:
    edit(base / "adapter_config.json", peft_type="LORA", base_model_name_or_path=named, r=4)
    (base / "adapter_model.bin").write_bytes(b"cos\nsystem\n")
    if not whole:
        (base / CONFIG).unlink()
    for load in ASKED.values():
        refused(load, base, "LoRA adapter")


@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": "(a+)+$"},
        {"r": 10**9},
        {"r": True},
        {"lora_alpha": "1"},
        {"megatron_config": {"a": 1}, "megatron_core": "evil"},
        {"peft_type": "VERA"},
        {"use_dora": True},
    ],
)
def test_an_adapters_settings_are_plain_or_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    from solon.model_folders.adapter import adapter_settings

    given = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    edit(tmp_path / "adapter_config.json", **given, base_model_name_or_path="someone/base", auto_mapping={"a": "os"})
    assert adapter_settings(tmp_path).rank == 4
    edit(tmp_path / "adapter_config.json", **changes)
    refused(adapter_settings, tmp_path, "no plain LoRA adapter")


@pytest.mark.parametrize("method", ["gptq", "bitsandbytes", "fp8", "mxfp4", "evil"])
def test_quantized_weights_are_refused(base: Path, method: str) -> None:
    edit(base / CONFIG, quantization_config={"quant_method": method})
    for load in ASKED.values():
        refused(load, base, "quantized")


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "experts_implementation"])
@pytest.mark.parametrize("named", ["kernels-community/evil", "flash_attention_2", "evil/evil@main:run"])
def test_a_folder_does_not_choose_its_kernels(base: Path, key: str, named: str) -> None:
    edit(base / CONFIG, **{key: named})
    for load in ASKED.values():
        load(base)
    engine = LocalEngine.load(base, device="cpu")
    assert engine.model.config._attn_implementation == "sdpa"


# Names and links that lead out.


@pytest.mark.parametrize(
    "named", ["../elsewhere.safetensors", "/etc/passwd", "..", "a/b.safetensors", "", "none.safetensors"]
)
def test_an_index_stays_in_its_folder(base: Path, named: str) -> None:
    shutil.copy(base / WEIGHTS, base.parent / "elsewhere.safetensors")
    (base / WEIGHTS).unlink()
    edit(base / f"{WEIGHTS}.index.json", weight_map={"model.norm.weight": named}, metadata={})
    for load in ASKED.values():
        refused(load, base, "the index names")


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "tokenizer.json", "chat_template.jinja", "adapter"])
def test_a_link_out_of_the_folder_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes((base / name).read_bytes() if (base / name).exists() else b"a private key")
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(secret)
    for load in ASKED.values():
        refused(load, base, "link", name)


def test_a_link_to_itself_is_refused(base: Path) -> None:
    (base / WEIGHTS).unlink()
    (base / WEIGHTS).symlink_to(WEIGHTS)
    refused(ASKED["asked"], base, "link", WEIGHTS)


def test_a_link_to_templates_elsewhere_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a private key")
    (base / "additional_chat_templates").mkdir()
    (base / "additional_chat_templates" / "tools.jinja").symlink_to(tmp_path / "secret")
    refused(ASKED["asked"], base, "link", "tools.jinja")


def test_a_snapshot_of_the_hubs_cache_is_a_model_folder(sound: Path, tmp_path: Path) -> None:
    """Its files are links to blobs beside it: that is how the hub's own library stores every model."""
    blobs, snapshot = tmp_path / ELSEWHERE / "blobs", tmp_path / ELSEWHERE / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted((sound / "base").iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))
    for load in ASKED.values():
        load(snapshot)
    linked = tmp_path / "mine"
    linked.symlink_to(snapshot)
    ASKED["asked"](linked)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "tokenizer.json"])
def test_a_pipe_is_not_waited_for(base: Path, name: str) -> None:
    (base / name).unlink()
    os.mkfifo(base / name)
    for load in ASKED.values():
        refused(load, base, "no plain file", name)


@pytest.mark.parametrize("named", ["../../tokenizer.1.0.json", "/tmp/tokenizer.1.0.json"])
def test_a_tokenizer_file_stays_in_its_folder(base: Path, named: str) -> None:
    edit(base / TOKENIZER, fast_tokenizer_files=[named])
    refused(ASKED["asked"], base, "outside of the folder")


def test_a_configuration_may_not_name_another_weight_file(base: Path) -> None:
    shutil.copy(base / WEIGHTS, base.parent / "elsewhere.safetensors")
    for changes in (
        {"transformers_weights": "../elsewhere.safetensors"},
        {"transformers_weights": f"{WEIGHTS}.index.json"},
        {"transformers_weights": None, "text_config": {"transformers_weights": "other.safetensors"}},
    ):
        edit(base / CONFIG, **changes)
        for load in ASKED.values():
            refused(load, base, "transformers_weights")


# Sizes, depth and damage.


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**9},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 10**6, "vocab_size": 320},
        {"vocab_size": 10**12},
        {"intermediate_size": 10**10},
        {"num_labels": 10**9},
        {"head_dim": 10**9},
        {"hidden_size": 2**14, "intermediate_size": 2**14, "num_hidden_layers": 9},
        {"hidden_size": -32},
        {"hidden_size": 0},
        {"hidden_size": "32"},
        {"hidden_size": 1e300},
        {"num_attention_heads": 0},
        {"num_hidden_layers": [1]},
        {"vocab_size": None},
        {"rope_parameters": {"rope_type": "evil"}},
        {"layer_types": "evil"},
        {"model_type": "../../evil"},
        {"model_type": 7},
        {"dtype": "evil"},
        {"architectures": 7, "hidden_act": "evil"},
        {"hidden_size": 48},
        {"num_hidden_layers": 2},
    ],
)
def test_an_absurd_configuration_is_refused_before_memory_is_taken(base: Path, changes: dict[str, Any]) -> None:
    import resource

    edit(base / CONFIG, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for load in (ASKED["asked"], ASKED["trained"]):
        refused(load, base)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10, "KiB"


@pytest.mark.parametrize(
    "name", [CONFIG, TOKENIZER, "tokenizer.json", "generation_config.json", f"{WEIGHTS}.index.json"]
)
@pytest.mark.parametrize("content", ['{"a":' + "[" * 200_000, "[]", "{", "", '{"a": ' + "9" * 9000 + "}", "\x00\xff"])
def test_damaged_or_deep_json_is_told(base: Path, name: str, content: str) -> None:
    if name.endswith("index.json"):
        (base / WEIGHTS).unlink()
    (base / name).write_bytes(content.encode("latin-1"))
    if name == "generation_config.json":  # a model may lack it, and transformers goes on without
        from solon.model_folders.load import load_generation_config

        refused(load_generation_config, base)
        return
    refused(ASKED["asked"], base)


def header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


def tensor(start: int, stop: int, *, shape: tuple[int, ...] = (4,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 99_999_999) + b"{}",
        header(b"[]"),
        header(b'{"a":' * 50_000),
        header(b"not json"),
        header(json.dumps({"a": tensor(0, 16), "b": tensor(8, 24)}).encode(), b"0" * 24),
        header(json.dumps({"a": tensor(0, 16), "b": tensor(20, 36)}).encode(), b"0" * 36),
        header(json.dumps({"a": tensor(0, 16)}).encode(), b"0" * 8),
        header(json.dumps({"a": tensor(0, 16)}).encode(), b"0" * 32),
        header(json.dumps({"a": tensor(0, 16, shape=(2**40, 2**40))}).encode(), b"0" * 16),
        header(json.dumps({"a": tensor(0, 16, shape=(-2, -2))}).encode(), b"0" * 16),
        header(json.dumps({"a": tensor(-16, 0)}).encode(), b"0" * 16),
        header(json.dumps({"a": tensor(0, 16, dtype="evil")}).encode(), b"0" * 16),
        header(json.dumps({"a": 7}).encode()),
        header(json.dumps({"a": {"dtype": "F32"}}).encode()),
        header(json.dumps({"a": tensor(0, 16)}).encode(), b"0" * 16),
    ],
)
def test_an_absurd_header_is_refused(base: Path, content: bytes) -> None:
    (base / WEIGHTS).write_bytes(content)
    refused(ASKED["asked"], base)
    refused(ASKED["trained"], base)


def test_a_missing_weight_is_never_made_up(base: Path) -> None:
    weights = load_file(base / WEIGHTS)
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, base / WEIGHTS, {"format": "pt"})
    for load in ASKED.values():
        refused(load, base, "lacks the weights model.layers.0.mlp.up_proj.weight")


def test_the_shards_of_a_training_job_are_no_model(base: Path) -> None:
    (base / WEIGHTS).rename(base / "shard-00001-model-00001-of-00001.safetensors")
    (base / ".metadata").write_bytes(b"cos\nsystem\n")
    refused(ASKED["asked"], base, "sharded training job")


# Numbers that are none.


def spoil(folder: Path, value: float) -> str:
    """Put a number into the last weight of a model; the weight's name."""
    weights = load_file(folder / WEIGHTS)
    name = "model.layers.0.mlp.down_proj.weight"
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    return name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_no_number_is_named(base: Path, pm: Path, value: float) -> None:
    for folder, loads in ((base, ASKED), (pm, SCORING)):
        name = spoil(folder, value)
        for load in loads.values():
            refused(load, folder, name, "not finite")


def test_arithmetic_that_overflows_names_the_model(base: Path) -> None:
    weights = {name: each * 3e38 if each.ndim == 1 else each for name, each in load_file(base / WEIGHTS).items()}
    save_file(weights, base / WEIGHTS, {"format": "pt"})
    engine = LocalEngine.load(base, device="cpu")
    for ask in (
        lambda: engine.generate([question("bread")], [1], Sampling(4)),
        lambda: engine.generate([question("bread")], [1], Sampling(4, temperature=0.0)),
        lambda: engine.generate([question("bread")], [1], Sampling(4, top_p=0.5)),
        lambda: engine.choose([question("bread")], ["A", "B"]),
    ):
        with pytest.raises(ModelError, match="no numbers") as caught:
            ask()
        assert caught.value.place == str(base)


# Templates.


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.mkdir(MARK) }}",
        "{{ lipsum.__globals__['os'].mkdir(MARK) }}",
        "{{ messages.__class__.__base__ }}",
        "{{ raise_exception.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.mkdir(MARK) }}",
    ],
)
def test_a_template_stays_in_its_sandbox(base: Path, marks: Path, template: str) -> None:
    (base / "chat_template.jinja").write_text(template.replace("MARK", repr(str(marks / "ran"))))
    try:
        tokenizer = models.load_tokenizer(base)
        shown = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    except Exception as error:
        assert "root:" not in str(error)
    else:
        assert "subclass" not in str(shown) and "module" not in str(shown) and "root:" not in str(shown)
    assert not list(marks.iterdir())


def test_a_sound_folder_passes(sound: Path) -> None:
    found = check_folder(sound / "base")
    assert found.contents.elements == sum(each.numel() for each in load_file(sound / "base" / WEIGHTS).values())
    for load in ASKED.values():
        load(sound / "base")
    for load in SCORING.values():
        load(sound / "pm")
