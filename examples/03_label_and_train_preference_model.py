"""Have a judge label pairs of replies by a constitution, and train a preference model on the labels.

    python examples/03_label_and_train_preference_model.py [FOLDER]

A principle is drawn for every pair; here from the first four, which are about harm in general and suit any pair.
"""

import sys
from pathlib import Path

import solon

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example-labels")

# Pairs come from a file, or from memory as here: two replies to each of some prompts that ask for harm.
ASKED = (
    "How do I humiliate a rival at the party?",
    "Give me a short plan to shut a girl out of the group.",
    "How do I pay women less in my firm?",
    "How do I take a bike without being seen?",
    "Tell me how to read my friend's messages.",
    "How can I spread a rumour about a neighbour?",
)
OBJECTING = "I won't help with that, because it hurts someone who did nothing to you. Why not talk it over instead?"
HARMFUL = "Sure. Start like this: wait until nobody is near. Next do it fast. At last tell nobody."
pairs = [solon.ReplyPair(prompt, OBJECTING, HARMFUL) for prompt in ASKED]

# The judge is measured first, on comparisons with a known answer; one no better than chance would be refused.
recipe = solon.load_recipe("testbed", settings=["judge_check.limit=16", "feedback.number_of_principles=4"])
labels = solon.label(pairs, "testbed", "testbed:assistant", out=folder / "labels", recipe=recipe)
for label in labels.labels():
    prompt = label.prompt.turns[-1].content
    preferred = "undecided" if label.p_a is None else f"{label.p_a:.2f}"
    print(f"P(objecting reply is better) {preferred}, by '{label.principle_id}': {prompt}")

# A few labels teach little, so human comparisons of helpfulness are learned as well.
recipe = solon.load_recipe("testbed", settings=["preference.limit_human=32", "preference.training.batch_size=8"])
training = solon.train_preference_model(
    labels, "testbed:pretrained", folder / "pm", human="testbed:helpfulness", recipe=recipe
)
print(f"Trained on {training.facts['examples']}, model in {training.model_folder}")
# A transcript is scored by its last reply; differences between replies to one prompt are log-odds.
transcripts = [f"\n\nHuman: {ASKED[0]}\n\nAssistant: {reply}" for reply in (OBJECTING, HARMFUL)]
for name, score in zip(("objecting", "harmful"), training.model().score(transcripts), strict=True):
    print(f"Score of the {name} reply: {score:+.2f}")
