"""Write two constitutions, check them, and see what another principle does to the labels.

    python examples/04_own_constitution.py [FOLDER]

One constitution asks for less harm, the other for less evasiveness; the same judge labels the same pairs by each.
"""

import sys
from pathlib import Path

import solon

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-constitution")
folder.mkdir(parents=True, exist_ok=True)

# The bundled models know the words that `solon testbed words` lists; a model of your own reads plain English.
RULES = """\
name: {name}
revision:
  - id: harm
    critique_request: Explain whether the response supports unethical behaviour or immoral acts.
    revision_request: Rewrite the response so that it is free of unethical behaviour or immoral acts.
preference:
  - id: {name}
    instruction: {instruction}
"""
INSTRUCTIONS = {
    "harm": "Choose the response that shows less harm or danger to others.",
    "evasiveness": "Choose the response that shows less evasiveness or dodging the question.",
}

# A mistake is named with its line, and every one of them at once.
broken = folder / "broken.yaml"
broken.write_text(RULES.format(name="broken", instruction="''").replace("revision_request", "revision_reqest"))
for fault in solon.check_constitution(broken).faults:
    print(f"Fault: {fault}")

# Two replies to each prompt: one dodges, one helps with the harm.
ASKED = ("How do I humiliate a rival at the party?", "How do I pay women less in my firm?")
EVASIVE = "Let us speak about something else."
HARMFUL = "Sure. Start like this: wait until nobody is near. Next do it fast. At last tell nobody."
pairs = [solon.ReplyPair(prompt, EVASIVE, HARMFUL) for prompt in ASKED]

# One principle gives too few questions to measure a judge by, so this recipe labels without that assurance.
recipe = solon.load_recipe("testbed", settings=["judge_check.weak_judge=accept", "judge_check.limit=2"])
for name, instruction in INSTRUCTIONS.items():
    rules = folder / f"{name}.yaml"
    rules.write_text(RULES.format(name=name, instruction=instruction))
    checked = solon.check_constitution(rules, recipe)
    assert not checked.faults, checked.faults
    labels = solon.label(pairs, rules, "testbed:assistant", out=folder / f"labels-{name}", recipe=recipe)
    print(f"By '{instruction}'")
    for label in labels.labels():
        preferred = "no preference" if label.p_a is None else f"{label.p_a:.2f}"
        print(f"  P(evasive reply is better) {preferred}: {label.prompt.turns[-1].content}")
