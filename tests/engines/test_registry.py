"""`open_engine` is the one way to a model: folders, built-in names, addresses, plug-ins, and models in memory."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

import solon
from solon.config.model_spec import FOLDER, ModelSpec, folder_of, located
from solon.config.recipe import EngineSettings, SamplingParams
from solon.engines.registry import engine_of, identity_of, name_of, open_engine
from solon.engines.vllm_engine import VllmFolder
from solon.errors import ModelError
from solon.pipeline.standalone_labels import ToLabel, label_standalone
from tests.engines.tiny import byte_tokenizer, model_of, question, questions
from tests.pipeline.test_standalone_labels import RECIPE, Given
from tests.plugin_package import install

TOY = """
from solon.engines.scripted import ScriptedEngine


class Opener:
    def open(self, spec, settings):
        choose = lambda prompt, option: -1.0 if option == spec.name else -2.0
        return ScriptedEngine(lambda prompt, seed: f"{spec.name} {seed}", choose, name=f"toy {spec.name}")

    def identity(self, spec):
        return f"toy-{spec.name}-version-1"
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "package", "solon_toy", TOY, {"solon.engines": {"toy": "solon_toy:Opener"}})


def save(folder: Path) -> Path:
    model_of("llama").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_specs_are_read_as_they_are_written(tmp_path: Path) -> None:
    assert ModelSpec.parse("models/llama") == ModelSpec(FOLDER, "models/llama")
    assert ModelSpec.parse("testbed:assistant") == ModelSpec("testbed", "assistant")
    assert ModelSpec.parse("http://127.0.0.1:8000/v1") == ModelSpec("http", "//127.0.0.1:8000/v1")
    assert ModelSpec.parse("toy:one") == ModelSpec(FOLDER, "toy:one"), "nobody registers toy, so it is a folder's name"
    assert ModelSpec.parse(Path("testbed:assistant")).scheme == FOLDER
    for text in ("models/llama", "testbed:assistant", "http://127.0.0.1:8000/v1", "toy:one"):
        assert str(ModelSpec.parse(text)) == text


def test_a_folder_and_a_built_in_name_of_it_are_the_same_model() -> None:
    named = ModelSpec.parse("testbed:assistant")
    folder = folder_of(named)
    assert folder is not None and located(named) == located(ModelSpec.parse(folder))
    assert identity_of(named) == identity_of(located(named))
    assert name_of(named) == f"assistant@{identity_of(named)[:12]}"


def test_a_folder_answers_like_its_model_in_memory(tmp_path: Path) -> None:
    opened = open_engine(ModelSpec.parse(save(tmp_path / "model")), EngineSettings(batch_size=3))
    held = engine_of(model_of("llama"), byte_tokenizer(), EngineSettings(batch_size=3), name="held")
    sampling = SamplingParams(max_tokens=6)
    answers = [engine.generate(questions(4), range(4), sampling) for engine in (opened, held)]
    assert [each.token_ids for each in answers[0]] == [each.token_ids for each in answers[1]]


def test_an_address_is_refused_in_one_line() -> None:
    spec = ModelSpec.parse("http://127.0.0.1:8000/v1")
    for refused in (open_engine, identity_of):
        with pytest.raises(ModelError, match=r"^http://127\.0\.0\.1:8000/v1: this is an address") as caught:
            refused(spec)
        assert "\n" not in str(caught.value) and "openai:MODEL@http://127.0.0.1:8000/v1" in caught.value.remedy


@pytest.mark.usefixtures("toy")
def test_a_plug_in_opens_models_of_its_own_scheme() -> None:
    spec = ModelSpec.parse("toy:one")
    assert spec == ModelSpec("toy", "one") and folder_of(spec) is None and located(spec) == spec
    (answer,) = open_engine(spec).generate([question("bread")], [3], SamplingParams(max_tokens=9))
    assert answer.text == "one 3"
    assert identity_of(spec) == "toy-one-version-1" and name_of(spec) == "toy:one@toy-one-vers"


@pytest.mark.usefixtures("toy")
def test_a_plug_in_s_model_labels_pairs_like_any_other(tmp_path: Path) -> None:
    given = Given(tmp_path / "given")
    to_label = ToLabel(given.pairs, given.constitution, (ModelSpec.parse("toy:A"),))
    done = label_standalone(tmp_path / "labels", RECIPE, to_label)
    assert done.facts["judge"] == "toy A"
    key = json.loads((tmp_path / "labels" / "manifest.json").read_text(encoding="utf-8"))["key"]
    assert key["judges"] == ["toy-A-version-1"]


def test_the_local_engine_is_named_nowhere_else() -> None:
    """Whoever asks a model goes through the registry, so that another kind of engine reaches every stage."""
    package = Path(solon.__file__).parent
    named = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "LocalEngine" in path.read_text(encoding="utf-8")
    }
    assert named and all(name.startswith("engines/") for name in named)


def test_a_vllm_spec_names_a_folder_and_is_another_model_than_the_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    spec = ModelSpec.parse(f"vllm:{folder}")
    assert (spec.scheme, spec.name) == ("vllm", str(folder)) and folder_of(spec) is None
    assert identity_of(spec) != identity_of(ModelSpec.parse(folder))
    before = identity_of(spec)
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert identity_of(spec) != before
    with pytest.raises(ModelError):
        identity_of(ModelSpec.parse(f"vllm:{tmp_path / 'none'}"))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="needs the package 'vllm'") as caught:
        open_engine(ModelSpec.parse(f"vllm:{save(tmp_path / 'model')}"))
    assert "solon[vllm]" in caught.value.remedy


def test_an_adapter_needs_its_base_model(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "nowhere/at-all"}))
    with pytest.raises(ModelError, match="the adapter's base model is not on this machine"):
        VllmFolder.of(adapter)
    base = save(tmp_path / "base")
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(base)}))
    assert VllmFolder.of(adapter) == VllmFolder(base, adapter)


def test_vllm_gets_no_preference_model(tmp_path: Path) -> None:
    config = json.loads((save(tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForSequenceClassification"]}))
    with pytest.raises(ModelError, match="and no language model"):
        VllmFolder.of(tmp_path)
