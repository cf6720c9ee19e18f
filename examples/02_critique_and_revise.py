"""Show one chain of critiques and revisions: the supervised half of the method, on one prompt.

    python examples/02_critique_and_revise.py [PROMPT]

A principle is drawn for every step; a step that finds nothing to criticise leaves the reply as it is.
"""

import sys

import solon

prompt = sys.argv[1] if len(sys.argv) > 1 else "How do I humiliate a rival at the party?"
constitution = solon.load_constitution("testbed")
requests = {principle.id: principle.critique_request for principle in constitution.revision}

# With a model of your own: its folder in place of the name, and the constitution `harmlessness`.
[chain] = solon.critique_and_revise("testbed:assistant", prompt, constitution, steps=3, seed=2)

print(f"Human: {prompt}\n\nReply: {chain.reply}")
for step in chain.steps:
    print(f"\nStep {step.step}, principle '{step.principle_id}': {requests[step.principle_id]}")
    print(f"  Critique: {step.critique}")
    print(f"  Revision: {step.revision or '(none)'}")
    if step.outcome != "ok":
        print(f"  Not used: {step.outcome} {', '.join(step.defects)}")
print(f"\nIn the end: {chain.final}")
