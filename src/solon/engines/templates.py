"""Chat templates: choosing one, fixing its date, and extending it for saved models.

A tokenizer's chat template is a Jinja program. Three things are decided here, so that a run and every folder that it
saves agree: which template to use when a tokenizer has several; the date, when a template writes today's (a run that
passes midnight would read other prompts); and Jinja code around the template, when the template by itself does not
write the text that a model was trained on.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solon.conversation import LABELS
from solon.errors import ModelError

TRANSCRIPT_TEMPLATE = (
    "{%- set labels = {'user': 'Human', 'assistant': 'Assistant', 'system': 'System'} -%}"
    "{%- for message in messages -%}"
    "{%- set said = namespace(text=message['content']) -%}"
    f"{{%- for label in {json.dumps(list(LABELS.values()))} -%}}"
    "{%- set said.text = said.text.replace('\\n\\n' + label + ':', '\\n\\n ' + label + ':') -%}"
    "{%- endfor -%}"
    "{{ '\\n\\n' + labels[message['role']] + ': ' + said.text }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '\\n\\nAssistant:' }}"
    "{%- elif messages[-1]['role'] == 'assistant' -%}{{ eos_token }}{%- endif -%}"
)
"""The paper's transcript as a chat template, for saved models that other programs are to prompt.

It shows what is said as `solon.conversation.escape_labels` does: no words of a message open a turn.
"""
EARLIER_TRANSCRIPT_TEMPLATE = (
    "{%- set labels = {'user': 'Human', 'assistant': 'Assistant', 'system': 'System'} -%}"
    "{%- for message in messages -%}"
    "{{ '\\n\\n' + labels[message['role']] + ': ' + message['content'] }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '\\n\\nAssistant:' }}"
    "{%- elif messages[-1]['role'] == 'assistant' -%}{{ eos_token }}{%- endif -%}"
)
"""The template in older folders; it differs only where a message contains a label."""
AS_TRANSCRIPT = "Use --set engine.rendering=transcript"
_DATE_CALL = re.compile(r"""strftime_now\(\s*(?P<quote>['"])(?P<format>[^'"]*)(?P=quote)\s*\)""")
_ANY_DATE_CALL = re.compile(r"strftime_now\s*\(")
THINKING_SWITCHES = ("enable_thinking", "thinking")
"""The template variables that switch a model's thinking on or off (Qwen3 and SmolLM3; Granite and DeepSeek)."""
_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, RuntimeError)
"""Errors that a template may raise besides Jinja's own: templates compute."""

Message = Mapping[str, str]


def template_of(tokenizer: Any, name: str | None, date: str) -> str | None:
    """The chat template with `date` (YYYY-MM-DD) in place of today's; None where there is none.

    `name` picks one of several. Raises ModelError when there are several without the named or a default one, and when
    a template computes the date in a way that cannot be fixed.
    """
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, Mapping):
        found = _named(found, name)
    if not found:
        return None
    return _dated(str(found), datetime.date.fromisoformat(date))


def _named(templates: Mapping[str, str], name: str | None) -> str:
    picked = templates.get(name or "default")
    if picked is None:
        known = ", ".join(sorted(templates)) or "none"
        cause = "the tokenizer has several chat templates and no default"
        if name is not None:
            cause = f"the tokenizer has no chat template named '{name}'"
        example = next(iter(sorted(templates)), "NAME")
        raise ModelError(f"{cause} ({known})", remedy=f"Name one: --set engine.template={example}")
    return picked


def _dated(template: str, date: datetime.date) -> str:
    dated = _DATE_CALL.sub(lambda call: json.dumps(date.strftime(call["format"]), ensure_ascii=False), template)
    if _ANY_DATE_CALL.search(dated):
        raise ModelError("the chat template computes today's date, which differs from day to day", remedy=AS_TRANSCRIPT)
    return dated


def transcript_template(opening: str) -> str:
    """`TRANSCRIPT_TEMPLATE` after the text of the tokens that the tokenizer puts first."""
    return (f"{{{{ {json.dumps(opening, ensure_ascii=False)} }}}}" if opening else "") + TRANSCRIPT_TEMPLATE


def applied(tokenizer: Any, template: str, messages: Sequence[Message], *, cue: bool, **variables: object) -> str:
    """The text that a template writes for messages; with `cue` it includes the words that open a reply.

    Raises ModelError, with one line, for any error of the template.
    """
    from jinja2.exceptions import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages), chat_template=template, tokenize=False, add_generation_prompt=cue, **variables
            )
        )
    except (TemplateError, *_FAULTS) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"the chat template refuses these turns ({reason:.200})", remedy=AS_TRANSCRIPT) from error


@dataclass(frozen=True, slots=True)
class TemplateFrame:
    """The texts around a reply that a template does not write itself."""

    cue: str
    """After the template's own words that open a reply."""
    lead: str
    """Before the reply's first word."""
    ending: str
    """After the reply's last word: the end of the turn."""


def candidates(template: str, frame: TemplateFrame, *, thinking: bool) -> list[str]:
    """Templates that may write the text a model is trained on, the plainest first; the caller tries them in order.

    They are: the template as it is; the template cut after the end of the last turn; and the template for everything
    but the last reply, with the frame around that. A template's switch for thinking is set as in training.
    """
    body = template.removesuffix("\n")
    cut = f"{{%- set shown -%}}{body}{{%- endset -%}}{{{{ shown if add_generation_prompt else shown.rstrip() }}}}"
    named = [name for name in THINKING_SWITCHES if re.search(rf"\b{name}\b", template)]
    switch = "".join(f"{{% set {name} = {str(thinking).lower()} %}}" for name in named) + ("{{ '' }}" if named else "")
    return [f"{switch}{each}" for each in (template, cut, _framed(body, frame))]


def _framed(body: str, frame: TemplateFrame) -> str:
    cue, lead, ending = (json.dumps(text, ensure_ascii=False) for text in (frame.cue, frame.lead, frame.ending))
    # The empty expressions keep Jinja from trimming the template's own white space next to a statement.
    return (
        "{% if messages and messages[-1]['role'] == 'assistant' and not add_generation_prompt %}"
        "{% set solon_reply = messages[-1]['content'] %}{% set messages = messages[:-1] %}"
        "{% set add_generation_prompt = true %}{% endif %}{{ '' }}"
        f"{body}"
        f"{{{{ {cue} if add_generation_prompt else '' }}}}"
        f"{{{{ {lead} ~ solon_reply ~ {ending} if solon_reply is defined else '' }}}}"
    )
