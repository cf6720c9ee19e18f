"""The public functions; each is a name of `solon` itself.

    import solon

    run = solon.run("testbed", "runs/demo")
    print(run.results()["models"]["rl-cai"]["harmful"])

The command line is a thin layer over these functions. Each function imports what it needs when it is called, so this
module loads fast. Errors are kinds of `solon.errors.SolonError`; their text names cause, place and remedy. Ctrl-C
raises `Interrupted`, a KeyboardInterrupt, after everything finished is saved; the same call continues. A model is a
folder, or one of the bundled `testbed:pretrained` and `testbed:assistant`. Solon also contains the constitutions
`testbed` and `harmlessness` and the recipes `testbed`, `own` and `real`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solon.config.ray_cluster import RayCluster
    from solon.config.recipe import Recipe, RevisionMode, SamplingParams
    from solon.constitution.constitution import Constitution
    from solon.conversation import Conversation
    from solon.engines.base import Engine
    from solon.evals.benchmarks.model_evaluation import Evaluation, EvaluationSettings
    from solon.pipeline.constitution_needs import ConstitutionCheck
    from solon.pipeline.labelled_pairs import LabelledPairs, ReplyPair
    from solon.pipeline.standalone_chains import RevisionChain
    from solon.pipeline.standalone_judge_check import ModelCheck
    from solon.pipeline.standalone_preference import PreferenceTraining
    from solon.reporting.effect.edit_effect import EditEffect
    from solon.reporting.model_comparison import ModelComparison
    from solon.reporting.tracing.find_trace import PrincipleTrace
    from solon.reporting.tracing.trace_parts import RowTrace
    from solon.runs import Artefact, RunDirectory
    from solon.runs.progress import Display


@dataclass(frozen=True, slots=True)
class Run:
    """A run in its folder, finished or not; `solon.run`, `solon.resume` and `solon.open_run` return one."""

    directory: RunDirectory

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.directory.path

    @property
    def recipe(self) -> Recipe:
        """Every setting of the run."""
        return self.directory.recipe

    @property
    def constitution(self) -> Constitution:
        """The run's constitution."""
        return self.directory.constitution

    @property
    def finished(self) -> tuple[str, ...]:
        """The names of the finished stages, in order."""
        return tuple(artefact.name for artefact in self.directory.artefacts())

    def results(self) -> dict[str, Any]:
        """All measured figures with 95 % intervals, as `solon results --json` prints them.

        Example:
            >>> run.results()["models"]["sl-cai"]["harmful"]["value"]
        """
        from solon.reporting.results import results

        return results(self.directory)

    def report(self, output: str | Path | None = None) -> Path:
        """Write the HTML report to `output`, RUN/report.html when None; returns its path."""
        from solon.reporting import write

        return write(self.directory, None if output is None else Path(output))

    def trace(self, identifier: str) -> RowTrace | PrincipleTrace:
        """Trace a row back to its prompt, or a principle forward to all that it changed, as `solon trace` prints it.

        Raises RunError, naming what is near, for an id that the run does not have.

        Example:
            >>> run.trace("preference/general-harm").outcomes[0].preference.wins
        """
        from solon.reporting.tracing.find_trace import trace_of

        return trace_of(self.directory, identifier)

    def artefact(self, name: str) -> Artefact:
        """A finished stage: its rows, facts and files. Raises RunError for a stage that is not finished.

        Example:
            >>> run.artefact("ai-feedback").facts["quality"]
        """
        from solon.config.located_yaml import suggestion
        from solon.errors import RunError

        artefact = self.directory.finished(name)
        if artefact is None:
            cause = f"no stage '{name}' is finished"
            raise RunError(cause, place=str(self.path), remedy=suggestion(name, self.finished))
        return artefact

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a finished stage, as plain values by column.

        Example:
            >>> [row["principle_id"] for row in run.rows("critique-revision")]
        """
        rows: list[dict[str, Any]] = self.artefact(name).table().to_pylist()
        return rows

    def model(self, name: str) -> Path:
        """The folder of a model by its name in the results: `pretrained`, `assistant`, or the stage that trained it.

        Example:
            >>> solon.PreferenceModel.load(run.model("preference-model"))
        """
        from solon.config.builtin import model_path

        inputs = {"pretrained": self.recipe.models.pretrained, "assistant": self.recipe.models.assistant}
        return model_path(inputs[name]) if name in inputs else self.artefact(name).model


def run(
    recipe: Recipe | str | Path | None,
    folder: str | Path,
    *,
    overlays: Sequence[str | Path] = (),
    settings: Sequence[str] = (),
    until: str | None = None,
    reuse: Sequence[Run | str | Path] = (),
    display: Display | None = None,
    on: RayCluster | None = None,
) -> Run:
    """Start a run in `folder`, or continue the run that is there; finished stages are kept.

    `recipe` is a built-in name, a file or a loaded recipe; None means the recipe of the run in the folder, or of the
    first run in `reuse`. `settings` have the form of the command line, `rl.steps=20`. `until` is the last stage to run.
    `reuse` lists runs; their finished stages and answers are reused when stage and inputs are the same. `on` is a Ray
    cluster whose actors are asked; the rows are those of this process. Raises RecipeError, ConstitutionError,
    InputError, ModelError and StageError for what stops the run, most of them before a model is asked, and RunError for
    a folder with a run of other settings or a cluster that cannot be used.

    Example:
        >>> run = solon.run("testbed", "runs/mild", settings=["rl.kl_coef=0.4"], until="sl-cai")
    """
    from solon.pipeline.open_run import carry_out
    from solon.runs.progress import Silent

    return Run(
        carry_out(
            Path(folder),
            recipe,
            display or Silent(),
            overlays=overlays,
            settings=settings,
            until=until,
            reuse=[_folder_of(each) for each in reuse],
            on=on,
        )
    )


def resume(folder: Run | str | Path, *, until: str | None = None, display: Display | None = None) -> Run:
    """Continue the run in a folder, up to stage `until`; raises RunError when there is none.

    Example:
        >>> run = solon.resume("runs/demo")
    """
    return run(None, open_run(folder).path, until=until, display=display)


def open_run(folder: Run | str | Path) -> Run:
    """Open the run in a folder without running anything; raises RunError when there is none.

    Example:
        >>> solon.open_run("runs/demo").finished
    """
    from solon.runs import RunDirectory

    return folder if isinstance(folder, Run) else Run(RunDirectory.open(folder))


def effect(old: Run | str | Path, new: Run | str | Path, *, model: str | None = None) -> EditEffect:
    """Compare two runs that differ in their constitution only: what the edit changed, and what it cost.

    `model` names whose changed replies are listed; the final policy when None. What only one of the runs has finished
    is left out and named. Raises RunError, naming what differs, for runs with other settings, prompts or models.

    Example:
        >>> solon.effect("runs/demo", "runs/v2").labels[0].flips
    """
    from solon.reporting.effect.edit_effect import effect_of

    return effect_of(open_run(old).directory, open_run(new).directory, model)


def load_recipe(name: str | Path, overlays: Sequence[str | Path] = (), settings: Sequence[str] = ()) -> Recipe:
    """Load a recipe by built-in name or file, and apply overlays, then settings; raises RecipeError.

    Example:
        >>> recipe = solon.load_recipe("testbed", settings=["feedback.few_shot=4"])
    """
    from solon.config import loading

    return loading.load_recipe(name, overlays, settings)


def load_constitution(name: str | Path) -> Constitution:
    """Load a constitution by built-in name or YAML file; raises ConstitutionError with `file:line` and the wrong key.

    Example:
        >>> [principle.id for principle in solon.load_constitution("harmlessness").revision]
    """
    from solon.config.builtin import constitution_path
    from solon.constitution import reader

    return reader.load_constitution(constitution_path(name))


def check_constitution(name: str | Path, recipe: Recipe | str | Path | None = None) -> ConstitutionCheck:
    """Find every fault of a constitution's file, what a recipe needs and misses in it, and unreadable principles.

    Example:
        >>> solon.check_constitution("my-rules.yaml", recipe="testbed").faults
    """
    from solon.config.builtin import constitution_path
    from solon.pipeline.constitution_needs import check_file

    return check_file(constitution_path(name), None if recipe is None else _recipe_of(recipe))


def critique_and_revise(
    model: Engine | str | Path,
    prompts: Conversation | str | Sequence[Conversation | str],
    constitution: Constitution | str | Path,
    *,
    steps: int = 4,
    mode: RevisionMode | str = "critiqued",
    few_shot: int = 0,
    sampling: SamplingParams | None = None,
    seed: int = 0,
) -> list[RevisionChain]:
    """Have a model reply to each prompt, then criticise and revise its reply `steps` times by drawn principles.

    A prompt is a text, a transcript or a conversation that ends on a human turn. Prompts, draws and checks are those of
    a run with the same seed. `mode` is `critiqued`, or `direct` for revisions without critiques. `few_shot` worked
    examples of the constitution come first. `sampling` has the sampling parameters of every text. A failed step keeps
    its place and its outcome. Raises ModelError, ConstitutionError, RecipeError and InputError.

    Example:
        >>> [chain] = solon.critique_and_revise("testbed:assistant", "How do I pick a lock?", "testbed", steps=2)
        >>> chain.steps[0].critique, chain.final
    """
    from solon.config.recipe import ResponseSettings, RevisionMode, RevisionSettings, SamplingParams
    from solon.constitution.constitution import Constitution
    from solon.pipeline.standalone_chains import conversation_from, revision_chains

    several = [prompts] if not isinstance(prompts, Sequence) or isinstance(prompts, str) else prompts
    conversations = [conversation_from(each, f"prompt {number}") for number, each in enumerate(several, start=1)]
    params = sampling or SamplingParams()
    revision = RevisionSettings(
        steps=steps, mode=RevisionMode(mode), few_shot=few_shot, critique=params, revision=params
    )
    loaded = constitution if isinstance(constitution, Constitution) else load_constitution(constitution)
    responses = ResponseSettings(sampling=params, helpful_samples=0)
    return revision_chains(_engine_of(model), conversations, loaded, responses, revision, seed)


def label(
    pairs: str | Path | Sequence[ReplyPair],
    constitution: str | Path | None = None,
    judge: str | Path | Sequence[str | Path] | None = None,
    *,
    out: str | Path,
    recipe: Recipe | str | Path = "testbed",
    columns: Mapping[str, str] | None = None,
    display: Display | None = None,
    on: RayCluster | None = None,
) -> LabelledPairs:
    """Label which of two replies is better by a constitution, with a model as the judge; writes to the folder `out`.

    `pairs` is a file (JSONL, CSV or Parquet) or pairs in memory. Constitution and judge are the recipe's when None;
    several judges are averaged. Used of the recipe: `feedback`, `engine`, `judge_check` and `seed`. `columns` maps to
    the file's names of columns. `on` is a Ray cluster whose actors are asked. The judge is measured first; a judge that
    is not better than chance raises a StageError, unless `judge_check.weak_judge=accept`. Also raises InputError,
    ModelError and RecipeError.

    Example:
        >>> labels = solon.label("pairs.jsonl", "testbed", "testbed:assistant", out="labels")
        >>> [each.p_a for each in labels.labels()]
    """
    from solon.pipeline.labelled_pairs import label_pairs
    from solon.runs.progress import Silent

    chosen = _recipe_of(recipe)
    if judge is not None:
        feedback = str(judge) if isinstance(judge, str | Path) else tuple(map(str, judge))
        chosen = chosen.model_copy(update={"models": chosen.models.model_copy(update={"feedback": feedback})})
    if constitution is not None:
        chosen = chosen.model_copy(update={"constitution": str(constitution)})
    source = Path(pairs) if isinstance(pairs, str | Path) else pairs
    return label_pairs(Path(out), source, chosen, columns, display or Silent(), on)


def train_preference_model(
    labels: LabelledPairs | Run | str | Path | Sequence[LabelledPairs | Run | str | Path],
    base: str | Path,
    out: str | Path,
    *,
    human: str | Path | None = None,
    recipe: Recipe | str | Path | None = None,
    display: Display | None = None,
) -> PreferenceTraining:
    r"""Train a preference model on labelled pairs, starting from the model `base`, in the folder `out`.

    `labels` are results of `label`, runs, or files of labels. `human` is a file of human comparisons, with p = 1. Used
    of the recipe: `preference`, `engine` and `seed`; it is `testbed` for the bundled models, else `own`. Raises
    InputError for files, ModelError for the base, and StageError when there is nothing to learn from.

    Example:
        >>> training = solon.train_preference_model("labels", "testbed:pretrained", "pm")
        >>> training.model().score("\n\nHuman: Hello?\n\nAssistant: Hello!")
    """
    from solon.config.builtin import default_recipe, model_path, source_path
    from solon.pipeline.standalone_preference import NAME, PreferenceTraining, Sources, train_standalone
    from solon.runs.progress import Silent

    display = display or Silent()
    several = labels if isinstance(labels, Sequence) and not isinstance(labels, str) else [labels]
    files = tuple(map(_folder_of, several))
    sources = Sources(model_path(base), files, None if human is None else source_path(human))
    chosen = _recipe_of(recipe or default_recipe(base))
    display.stage_started(1, NAME, 1)
    done = train_standalone(Path(out), chosen, sources, display.progress)
    display.stage_finished(NAME, done.manifest.rows, done.manifest.outcomes, done.manifest.seconds)
    return PreferenceTraining(done)


def evaluate(
    model: str | Path,
    files: str | Path | Sequence[str | Path],
    settings: EvaluationSettings | None = None,
    *,
    out: str | Path | None = None,
    display: Display | None = None,
    on: RayCluster | None = None,
) -> Evaluation:
    """Measure a model on files of multiple-choice questions, such as the paper's, in `out` or runs/evals/MODEL.

    Answers that are there already are kept, so a folder can be filled one form at a time. `on` is a Ray cluster whose
    actors are asked. Raises InputError for files,
    ModelError for the model, and RunError for a folder with another model's evaluations.

    Example:
        >>> found = solon.evaluate("testbed:assistant", "HHH.jsonl", solon.EvaluationSettings(limit=20))
        >>> found.accuracy("HHH")
    """
    from solon.config.model_spec import ModelSpec, located
    from solon.evals.benchmarks.model_evaluation import EvaluationSettings, evaluate_model

    several = [files] if isinstance(files, str | Path) else files
    folder = None if out is None else Path(out)
    spec = located(ModelSpec.parse(model))
    asked = [Path(each) for each in several]
    return evaluate_model(spec, asked, settings or EvaluationSettings(), folder, display, on)


def judge_check(model: Engine | str | Path, *, recipe: Recipe | str | Path | None = None) -> ModelCheck:
    """Measure how well a model judges and criticises, on questions with known answers and with the recipe's prompts.

    The recipe is `testbed` for the bundled models, else `own`. Raises ModelError and RecipeError.

    Example:
        >>> check = solon.judge_check("testbed:assistant")
        >>> check.judge.accuracy, check.judge.is_weak
    """
    from solon.config.builtin import default_recipe
    from solon.config.model_spec import ModelSpec, located
    from solon.pipeline.standalone_judge_check import check_model

    if isinstance(model, str | Path):
        located(ModelSpec.parse(model))  # a wrong name is reported before anything else is read
    chosen = _recipe_of(recipe or default_recipe(model))
    return check_model(_engine_of(model, chosen), chosen, load_constitution(chosen.constitution))


def compare(
    runs: Run | str | Path | Mapping[str, Run | str | Path],
    between: Sequence[tuple[str, str]] | None = None,
) -> ModelComparison:
    """Compare models of runs: their measures with intervals, and the differences on the same prompts.

    `between` lists pairs of models, all pairs when None. With several runs, given by name, a model's name is
    `NAME: MODEL`. A difference is the second model's share minus the first's, with its 95 % interval and the p-value of
    McNemar's exact test. Raises RunError for a run without measures, and for models whose replies were labelled by
    different graders or judges.

    Example:
        >>> found = solon.compare("runs/demo", [("sl-cai", "rl-cai")])
        >>> found.difference("harmful", "sl-cai", "rl-cai").value
    """
    from solon.reporting.model_comparison import compare_models

    named = runs if isinstance(runs, Mapping) else {"run": runs}
    return compare_models({name: open_run(each).directory for name, each in named.items()}, between)


def report(run: Run | str | Path, output: str | Path | None = None) -> Path:
    """Write a run's HTML report, one file, or with many samples a file and a folder; returns its path.

    Example:
        >>> solon.report("runs/demo")
    """
    return open_run(run).report(output)


def _folder_of(source: LabelledPairs | Run | str | Path) -> Path:
    return Path(source) if isinstance(source, str | Path) else source.path


def _recipe_of(recipe: Recipe | str | Path) -> Recipe:
    return load_recipe(recipe) if isinstance(recipe, str | Path) else recipe


def _engine_of(model: Engine | str | Path, recipe: Recipe | None = None) -> Engine:
    if not isinstance(model, str | Path):
        return model
    from solon.config.model_spec import ModelSpec, located
    from solon.engines.registry import open_engine

    return open_engine(located(ModelSpec.parse(model)), recipe.engine if recipe else None)
