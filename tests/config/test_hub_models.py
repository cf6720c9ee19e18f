"""Models of the Hugging Face hub: the cache first, then the hub; a fake cache and a hub on this machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tests.engines.tiny import question
from tests.fake_hub import COMMIT, LATER, REPOSITORY, FakeHub, put_in_cache, serving, tiny_files

from solon.config.builtin import hub_model, model_path
from solon.config.hub_models import HubModel, cache_directory, cached_snapshot, commit_of, snapshot, title_of
from solon.config.model_pins import named_models, with_pinned_models
from solon.config.model_spec import ModelSpec, folder_of, located
from solon.config.recipe import Recipe, SamplingParams
from solon.engines.registry import identity_of, name_of, open_engine
from solon.errors import ModelError

NAME = f"hf:{REPOSITORY}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return tiny_files(tmp_path_factory.mktemp("made"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home" / "hub"


@pytest.fixture
def online(cache: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    return monkeypatch


@pytest.mark.parametrize("written", [NAME, f"{NAME}@v1.0", f"{NAME}@refs/pr/3", f"{NAME}@{COMMIT}", "hf:gpt2"])
def test_names_are_read_as_they_are_written(written: str) -> None:
    spec = ModelSpec.parse(written)
    assert spec.scheme == "hf" and str(spec) == written == str(HubModel.parse(written))


@pytest.mark.parametrize("written", ["hf:", "hf:a/b/c", "hf:../x", "hf:a/b@", "hf:a/b@../../c", "hf:a b", "hf:a/b@/c"])
def test_a_name_that_no_model_can_have_is_refused(written: str) -> None:
    with pytest.raises(ModelError, match=r"not the name of a model on the hub. Write hf:ORG/NAME\[@REVISION\]"):
        model_path(written)


def test_a_plain_name_is_of_the_hub_only_where_nothing_of_it_is_here(tmp_path: Path, cache: Path) -> None:
    assert hub_model(REPOSITORY) == HubModel(REPOSITORY)
    assert hub_model(f"{REPOSITORY}@v2") == HubModel(REPOSITORY, "v2")
    others = ("models/llama", "llama", "./some-org/x", "/some-org/x", "a/b/c", "testbed:assistant", "http://a/b")
    assert [hub_model(name) for name in others] == [None] * len(others)
    (tmp_path / "some-org").mkdir()
    assert hub_model(REPOSITORY) is None, "a misspelt folder beside others"
    assert hub_model(NAME) == HubModel(REPOSITORY)


def test_the_cache_is_where_huggingface_hub_has_it(tmp_path: Path) -> None:
    assert cache_directory({}) == Path.home() / ".cache/huggingface/hub"
    assert cache_directory({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
    assert cache_directory({"HF_HOME": "/h", "XDG_CACHE_HOME": "/c"}) == Path("/h/hub")
    assert cache_directory({"HF_HUB_CACHE": "/k", "HF_HOME": "/h"}) == Path("/k")


@pytest.mark.parametrize(
    "name", [NAME, REPOSITORY, f"{NAME}@main", f"{NAME}@{COMMIT}", f"{NAME}@{LATER}", f"{NAME}@v1"]
)
def test_a_cached_snapshot_needs_no_network(cache: Path, files: dict[str, bytes], name: str) -> None:
    first = put_in_cache(cache, files)
    later = put_in_cache(cache, files, LATER, refs=("v1",))
    wanted = later if name.endswith(("v1", LATER)) else first
    assert model_path(name) == folder_of(ModelSpec.parse(name)) == wanted
    assert commit_of(wanted) == wanted.name and title_of(wanted) == f"tiny-llama-{wanted.name[:12]}"


def test_a_model_of_the_hub_answers_like_the_folder_and_its_name_has_the_commit(
    tmp_path: Path, cache: Path, files: dict[str, bytes]
) -> None:
    put_in_cache(cache, files)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name, content in files.items():
        (plain / name).write_bytes(content)
    spec, folder = ModelSpec.parse(NAME), ModelSpec.parse(plain)
    assert identity_of(spec) == identity_of(folder) == identity_of(located(spec))
    assert name_of(spec) == f"tiny-llama-{COMMIT[:12]}@{identity_of(folder)[:12]}"
    engines = open_engine(spec), open_engine(folder)
    assert engines[0].name == name_of(spec)
    answers = [each.generate([question("bread")], [3], SamplingParams(max_tokens=6))[0] for each in engines]
    assert answers[0].token_ids == answers[1].token_ids


@pytest.mark.parametrize("lacking", ["config.json", "tokenizer", "model.safetensors"])
def test_a_part_of_a_snapshot_is_not_used(cache: Path, files: dict[str, bytes], lacking: str) -> None:
    put_in_cache(cache, {name: content for name, content in files.items() if not name.startswith(lacking)})
    assert cached_snapshot(HubModel(REPOSITORY)) is None


def test_shards_count_only_together(cache: Path, files: dict[str, bytes]) -> None:
    whole = {name: content for name, content in files.items() if name != "model.safetensors"}
    index = b'{"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}'
    sharded = {**whole, "model.safetensors.index.json": index, "part-1.safetensors": b"1"}
    folder = put_in_cache(cache, sharded)
    assert cached_snapshot(HubModel(REPOSITORY)) is None
    (folder / "part-2.safetensors").write_bytes(b"2")
    assert cached_snapshot(HubModel(REPOSITORY)) == folder


@pytest.mark.parametrize(("name", "place"), [(NAME, NAME), (REPOSITORY, REPOSITORY), (f"{NAME}@v1", f"{NAME}@v1")])
def test_offline_one_line_says_how_to_bring_the_model(cache: Path, name: str, place: str) -> None:
    with pytest.raises(ModelError) as caught:
        model_path(name)
    told = str(caught.value)
    assert told.startswith(f"{place}: ") and "not in the cache, and HF_HUB_OFFLINE forbids the network" in told
    revision = " --revision v1" if name.endswith("v1") else ""
    assert f"hf download {REPOSITORY}{revision}, and copy its cache to {cache} (HF_HOME names another)" in told
    assert "\n" not in told


def test_without_a_network_one_line_says_so(online: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    online.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(
        ModelError, match=rf"^{NAME}: not in the cache, and the hub cannot be reached \(.*refused"
    ) as caught:
        snapshot(HubModel(REPOSITORY))
    assert f"hf download {REPOSITORY}" in caught.value.remedy and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("refusal", "cause", "remedy"),
    [
        ((403, "GatedRepo"), "access to the model is restricted", f"https://huggingface.co/{REPOSITORY}"),
        ((404, "RepoNotFound"), "there is no such model that you may read", "Check the name"),
        ((401, ""), "there is no such model that you may read", "hf auth login"),
        ((503, ""), "not in the cache, and the hub answers with status 503", "Try again later"),
        ((404, "RevisionNotFound"), "the model has no revision 'main'", "Name a branch, a tag or a commit"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(
    online: pytest.MonkeyPatch, refusal: tuple[int, str], cause: str, remedy: str
) -> None:
    with serving(FakeHub({}, refusal)) as hub:
        online.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ModelError) as caught:
            snapshot(HubModel(REPOSITORY))
    assert caught.value.cause == cause and remedy in caught.value.remedy and "\n" not in str(caught.value)


def test_a_model_is_fetched_once_without_code_pickles_and_second_copies(
    online: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    more = ("modeling.py", "pytorch_model.bin", "consolidated.safetensors", "original/x.json", "README.md", "a.gguf")
    with serving(FakeHub({**files, **dict.fromkeys(more, b"x")})) as hub:
        online.setenv("HF_ENDPOINT", hub.url)
        folder = model_path(NAME)
        assert commit_of(folder) == COMMIT and set(hub.sent) == set(files)
        assert hub.sent[-1] == "model.safetensors", "the weights come last"
        count = len(hub.asked)
        assert model_path(NAME) == model_path(f"{NAME}@{COMMIT}") == folder and len(hub.asked) == count
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files


def test_a_fetch_that_breaks_off_leaves_nothing_that_counts(
    online: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    with serving(FakeHub(files, fails=frozenset({"model.safetensors"}))) as hub:
        online.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ModelError, match=rf"^{NAME}: "):
            model_path(NAME)
        assert cached_snapshot(HubModel(REPOSITORY)) is None
        hub.fails = frozenset()
        assert commit_of(model_path(NAME)) == COMMIT


def test_a_repository_without_safetensors_is_refused_before_anything_is_fetched(online: pytest.MonkeyPatch) -> None:
    with serving(FakeHub({"config.json": b"{}", "pytorch_model.bin": b"x", "adapter_model.safetensors": b"x"})) as hub:
        online.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ModelError, match=rf"^{NAME}: the repository has no safetensors of a whole model"):
            model_path(NAME)
        assert hub.sent == []


def test_recipes_are_pinned_to_commits_and_keep_them(cache: Path, files: dict[str, bytes]) -> None:
    put_in_cache(cache, files)
    recipe = Recipe.model_validate(
        {
            "models": {"pretrained": REPOSITORY, "feedback": [NAME, "testbed:assistant"]},
            "measure": {"judge": f"{NAME}@main"},
            "rl": {"scorer": "http://127.0.0.1:8000"},
        }
    )
    pinned = with_pinned_models(recipe)
    here = f"{NAME}@{COMMIT}"
    assert pinned.models.pretrained == pinned.measure.judge == here and pinned.rl == recipe.rl
    assert pinned.models.feedback == (here, "testbed:assistant") and pinned.models.assistant == "testbed:assistant"
    put_in_cache(cache, files, LATER)  # main moves on
    assert with_pinned_models(recipe).models.pretrained == f"{NAME}@{LATER}"
    assert with_pinned_models(recipe, pinned) == with_pinned_models(pinned) == pinned
    assert with_pinned_models(Recipe()) == Recipe() and "testbed:pretrained" in set(named_models(Recipe()))
