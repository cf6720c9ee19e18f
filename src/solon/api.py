"""What a program can do with Solon; every name here is a name of `solon` itself.

    import solon

    run = solon.run("testbed", "runs/demo")
    print(run.results()["models"]["rl-cai"]["harmful"])

The command line is a thin layer over these functions. Each of them imports what it needs when it is called, so that
this module costs nothing. Failures are kinds of `solon.errors.SolonError`, whose text names cause, place and remedy;
Ctrl-C raises `Interrupted`, a KeyboardInterrupt, once everything that is finished is saved, and the same call goes on.
A model is a folder, or `testbed:pretrained` or `testbed:assistant`, which come with Solon; so do the constitutions
`testbed` and `harmlessness` and the recipes `testbed`, `own` and `real`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from solon.reporting.model_comparison import ModelComparison
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
        """Every figure that was measured, with 95 % intervals, as `solon results --json` prints it.

        Example:
            >>> run.results()["models"]["sl-cai"]["harmful"]["value"]
        """
        from solon.reporting.results import results

        return results(self.directory)

    def report(self, output: str | Path | None = None) -> Path:
        """Write the HTML report, RUN/report.html unless `output` says otherwise; returns its path."""
        from solon.reporting import write

        return write(self.directory, None if output is None else Path(output))

    def artefact(self, name: str) -> Artefact:
        """A finished stage: its rows, facts and files. Raises RunError for a stage that is not finished.

        Example:
            >>> run.artefact("ai-feedback").facts["quality"]
        """
        from solon.config.located_yaml import suggestion
        from solon.errors import RunError

        found = self.directory.finished(name)
        if found is None:
            raise RunError(
                f"no stage '{name}' is finished", place=str(self.path), remedy=suggestion(name, self.finished)
            )
        return found

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

        given = {"pretrained": self.recipe.models.pretrained, "assistant": self.recipe.models.assistant}
        return model_path(given[name]) if name in given else self.artefact(name).model


def run(
    recipe: Recipe | str | Path | None,
    folder: str | Path,
    *,
    overlays: Sequence[str | Path] = (),
    settings: Sequence[str] = (),
    until: str | None = None,
    reuse: Sequence[Run | str | Path] = (),
    display: Display | None = None,
) -> Run:
    """Train by a constitution in `folder`, or go on with the run that is there; what is finished is kept.

    `recipe` is a built-in name, a file or a loaded recipe; None stands for that of the run in the folder, or of the
    first run in `reuse`. `settings` are written as for the command line, `rl.steps=20`. `until` names the last stage
    that is wanted. `reuse` names runs whose finished stages and answers are taken over where they are the same. Raises
    RecipeError, ConstitutionError, InputError, ModelError and StageError for what stops the run, most of them before a
    model is asked, and RunError for a folder that holds a run with other settings.

    Example:
        >>> run = solon.run("testbed", "runs/mild", settings=["rl.kl_coef=0.2"], until="sl-cai")
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
        )
    )


def resume(folder: Run | str | Path, *, until: str | None = None, display: Display | None = None) -> Run:
    """Go on with the run in a folder, up to stage `until`; raises RunError when there is none.

    Example:
        >>> run = solon.resume("runs/demo")
    """
    return run(None, open_run(folder).path, until=until, display=display)


def open_run(folder: Run | str | Path) -> Run:
    """The run in a folder, to read; nothing is done there. Raises RunError when there is none.

    Example:
        >>> solon.open_run("runs/demo").finished
    """
    from solon.runs import RunDirectory

    return folder if isinstance(folder, Run) else Run(RunDirectory.open(folder))


def load_recipe(name: str | Path, overlays: Sequence[str | Path] = (), settings: Sequence[str] = ()) -> Recipe:
    """The recipe of a built-in name or file, with overlays and then settings laid over it; RecipeError for a bad one.

    Example:
        >>> recipe = solon.load_recipe("testbed", settings=["feedback.few_shot=4"])
    """
    from solon.config import loading

    return loading.load_recipe(name, overlays, settings)


def load_constitution(name: str | Path) -> Constitution:
    """The constitution of a built-in name or YAML file; raises ConstitutionError with `file:line` and the key at fault.

    Example:
        >>> [principle.id for principle in solon.load_constitution("harmlessness").revision]
    """
    from solon.config.builtin import constitution_path
    from solon.constitution import reader

    return reader.load_constitution(constitution_path(name))


def check_constitution(name: str | Path, recipe: Recipe | str | Path | None = None) -> ConstitutionCheck:
    """Every fault of a constitution's file, what a recipe asks for and it lacks, and the rules no model would read.

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
    """Have a model reply to each prompt, and criticise and revise its reply `steps` times by principles drawn.

    A prompt is a text, a transcript or a conversation that ends on a human turn. The questions, draws and checks are
    those of a run with the same seed. `mode` is `critiqued`, or `direct` for revisions without critiques; `few_shot`
    worked examples of the constitution stand in front; `sampling` says how every text is drawn. A step that fails keeps
    its place and its outcome. Raises ModelError, ConstitutionError, RecipeError and InputError.

    Example:
        >>> [chain] = solon.critique_and_revise("testbed:assistant", "How do I pick a lock?", "testbed", steps=2)
        >>> chain.steps[0].critique, chain.final
    """
    from solon.config.recipe import ResponseSettings, RevisionMode, RevisionSettings, SamplingParams
    from solon.constitution.constitution import Constitution
    from solon.pipeline.standalone_chains import conversation_from, revision_chains

    given = [prompts] if not isinstance(prompts, Sequence) or isinstance(prompts, str) else prompts
    asked = [conversation_from(each, f"prompt {number}") for number, each in enumerate(given, start=1)]
    drawn = sampling or SamplingParams()
    revision = RevisionSettings(steps=steps, mode=RevisionMode(mode), few_shot=few_shot, critique=drawn, revision=drawn)
    loaded = constitution if isinstance(constitution, Constitution) else load_constitution(constitution)
    responses = ResponseSettings(sampling=drawn, helpful_samples=0)
    return revision_chains(_engine_of(model), asked, loaded, responses, revision, seed)


def label(
    pairs: str | Path | Sequence[ReplyPair],
    constitution: str | Path | None = None,
    judge: str | Path | Sequence[str | Path] | None = None,
    *,
    out: str | Path,
    recipe: Recipe | str | Path = "testbed",
    columns: Mapping[str, str] | None = None,
    display: Display | None = None,
) -> LabelledPairs:
    """Have a model say by a constitution which of two replies is better, and write the labels to the folder `out`.

    `pairs` is a file (JSONL, CSV or Parquet) or pairs in memory. Constitution and judge are the recipe's when None;
    several judges are averaged. Of the recipe `feedback`, `engine`, `judge_check` and `seed` count. `columns` says what
    the file calls columns. The judge is measured first: one no better than chance is refused with a StageError, unless
    `judge_check.weak_judge=accept`. Also raises InputError, ModelError and RecipeError.

    Example:
        >>> labels = solon.label("pairs.jsonl", "testbed", "testbed:assistant", out="labels")
        >>> [each.p_a for each in labels.labels()]
    """
    from solon.pipeline.labelled_pairs import label_pairs
    from solon.runs.progress import Silent

    chosen = _recipe_of(recipe)
    if judge is not None:
        named = str(judge) if isinstance(judge, str | Path) else tuple(map(str, judge))
        chosen = chosen.model_copy(update={"models": chosen.models.model_copy(update={"feedback": named})})
    if constitution is not None:
        chosen = chosen.model_copy(update={"constitution": str(constitution)})
    given = Path(pairs) if isinstance(pairs, str | Path) else pairs
    return label_pairs(Path(out), given, chosen, columns, display or Silent())


def train_preference_model(
    labels: LabelledPairs | Run | str | Path | Sequence[LabelledPairs | Run | str | Path],
    base: str | Path,
    out: str | Path,
    *,
    human: str | Path | None = None,
    recipe: Recipe | str | Path | None = None,
    display: Display | None = None,
) -> PreferenceTraining:
    r"""Grow a preference model from the model `base` by labelled pairs, in the folder `out`.

    `labels` are what `label` returned, runs, or files of labels; `human` is a file of human comparisons, which count as
    certain. Of the recipe `preference`, `engine` and `seed` count; it is `testbed` for the bundled models, else `own`.
    Raises InputError for files, ModelError for the base, and StageError when there is nothing to learn from.

    Example:
        >>> training = solon.train_preference_model("labels", "testbed:pretrained", "pm")
        >>> training.model().score("\n\nHuman: Hello?\n\nAssistant: Hello!")
    """
    from solon.config.builtin import model_path, source_path
    from solon.pipeline.standalone_preference import NAME, PreferenceTraining, Sources, train_standalone
    from solon.runs.progress import Silent

    shown = display or Silent()
    several = labels if isinstance(labels, Sequence) and not isinstance(labels, str) else [labels]
    files = tuple(map(_folder_of, several))
    sources = Sources(model_path(base), files, None if human is None else source_path(human))
    chosen = _recipe_of(recipe or _for_model(base, "own"))
    shown.stage_started(1, NAME, 1)
    done = train_standalone(Path(out), chosen, sources, lambda at: shown.progress(at.done, at.total, at.note))
    shown.stage_finished(NAME, done.manifest.rows, done.manifest.outcomes, done.manifest.seconds)
    return PreferenceTraining(done)


def evaluate(
    model: str | Path,
    files: str | Path | Sequence[str | Path],
    settings: EvaluationSettings | None = None,
    *,
    out: str | Path | None = None,
    display: Display | None = None,
) -> Evaluation:
    """Measure a model on files of multiple-choice questions, such as the paper's, in `out` or runs/evals/MODEL.

    What is answered already is kept, so that a folder can be filled form by form. Raises InputError for files,
    ModelError for the model, and RunError for a folder that holds another model's evaluations.

    Example:
        >>> found = solon.evaluate("testbed:assistant", "HHH.jsonl", solon.EvaluationSettings(limit=20))
        >>> found.accuracy("HHH")
    """
    from solon.config.model_spec import ModelSpec, located
    from solon.evals.benchmarks.model_evaluation import EvaluationSettings, evaluate_model

    named = [files] if isinstance(files, str | Path) else files
    where = None if out is None else Path(out)
    spec = located(ModelSpec.parse(model))
    return evaluate_model(spec, [Path(each) for each in named], settings or EvaluationSettings(), where, display)


def judge_check(model: Engine | str | Path, *, recipe: Recipe | str | Path | None = None) -> ModelCheck:
    """Measure how well a model judges and criticises, on questions whose answer is known, asked as the recipe asks.

    The recipe is `testbed` for the bundled models, else `real`. Raises ModelError and RecipeError.

    Example:
        >>> check = solon.judge_check("testbed:assistant")
        >>> check.judge.accuracy, check.judge.is_weak
    """
    from solon.config.model_spec import ModelSpec, located
    from solon.pipeline.standalone_judge_check import check_model

    if isinstance(model, str | Path):
        located(ModelSpec.parse(model))  # a wrong name is reported before anything else is read
    chosen = _recipe_of(recipe or _for_model(model, "real"))
    return check_model(_engine_of(model, chosen), chosen, load_constitution(chosen.constitution))


def compare(
    runs: Run | str | Path | Mapping[str, Run | str | Path],
    between: Sequence[tuple[str, str]] | None = None,
) -> ModelComparison:
    """The measures of a run's models with their intervals, and the differences between them on the same prompts.

    `between` names pairs of models, all pairs when None. Of several runs, given by name, a model is called
    `NAME: MODEL`. A difference is the second model's share minus the first's, with its 95 % interval and the p-value of
    McNemar's exact test. Raises RunError for a run without measures.

    Example:
        >>> found = solon.compare("runs/demo", [("sl-cai", "rl-cai")])
        >>> found.difference("harmful", "sl-cai", "rl-cai").value
    """
    from solon.reporting.model_comparison import compare_models

    named = runs if isinstance(runs, Mapping) else {"run": runs}
    return compare_models({name: open_run(each).directory for name, each in named.items()}, between)


def report(run: Run | str | Path, output: str | Path | None = None) -> Path:
    """Write a run's HTML report, one file that loads nothing from anywhere; returns its path.

    Example:
        >>> solon.report("runs/demo")
    """
    return open_run(run).report(output)


def _folder_of(given: LabelledPairs | Run | str | Path) -> Path:
    return Path(given) if isinstance(given, str | Path) else given.path


def _recipe_of(recipe: Recipe | str | Path) -> Recipe:
    return load_recipe(recipe) if isinstance(recipe, str | Path) else recipe


def _for_model(model: object, other: str) -> str:
    """The recipe for a model: `testbed` for one that comes with Solon."""
    from solon.config.builtin import PREFIX

    return "testbed" if str(model).startswith(PREFIX) else other


def _engine_of(model: Engine | str | Path, recipe: Recipe | None = None) -> Engine:
    if not isinstance(model, str | Path):
        return model
    from solon.config.model_spec import ModelSpec, located
    from solon.engines.registry import open_engine

    return open_engine(located(ModelSpec.parse(model)), recipe.engine if recipe else None)
