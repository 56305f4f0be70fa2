"""Remarks on a rubric that is valid and will still be hard to answer, and on criteria that told nothing on a run."""

import difflib
import re
from collections.abc import Iterable, Iterator
from itertools import combinations

import msgspec

from reward_models.types import Criterion, Report, Rubric

LEAST_VERDICTS = 10
"""Fewer known verdicts say nothing about whether a criterion tells attempts apart."""
ALIKE = 0.85
"""Questions that share this much of their words are near duplicates."""


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """What is doubtful about a criterion, and what would mend it."""

    criterion: str
    kind: str
    """`double_barrelled`, `unanswerable`, `duplicate`, `vague`, `negated`, `no_reason` or `constant`."""
    text: str


def lint(rubric: Rubric, reports: Iterable[Report] = ()) -> list[Remark]:
    """Remarks in the order of the criteria; `reports` are what a run answered to this rubric.

    These are guesses from words: a question may be sound and still be remarked on.
    """
    found = [remark for criterion in rubric.criteria for remark in _on_one(criterion, rubric)]
    found += [*_duplicates(rubric), *_constant(rubric, reports)]
    place = {criterion.id: number for number, criterion in enumerate(rubric.criteria)}
    return sorted(found, key=lambda remark: place[remark.criterion])


def _on_one(criterion: Criterion, rubric: Rubric) -> Iterator[Remark]:
    if not criterion.reason.strip():
        yield _remark(
            criterion, "no_reason", "no reason is given; say what goes wrong where the criterion is not there"
        )
    if not criterion.question:
        return
    main = _main_clause(criterion.question)
    for what, text in (
        ("double_barrelled", _double(criterion.question, main)),
        ("unanswerable", _unanswerable(criterion, criterion.view or rubric.view)),
        ("vague", _vague(criterion.question)),
        ("negated", _negated(criterion, main)),
    ):
        if text:
            yield _remark(criterion, what, text)


_LEADING = re.compile(r"^(?:when|if|where|after|before|once|while|whenever|given)\b[^,?]*,\s*", re.IGNORECASE)
_SUBORDINATE = re.compile(
    r"\b(?:that|what|how|which|who|whose|when|where|before|after|because|until|while|if|although|unless|by|such as)"
    r"\b.*",
    re.IGNORECASE | re.DOTALL,
)
_ASIDE = re.compile(r"\([^)]*\)|\"[^\"]*\"|'[^']*'|`[^`]*`")


def _main_clause(question: str) -> str:
    """The question without asides, a condition in front of it, and the clauses that hang on it."""
    text = _LEADING.sub("", _ASIDE.sub(" ", question).strip())
    first, rest = text.split(" ", 1) if " " in text else (text, "")
    return f"{first} {_SUBORDINATE.sub('', rest)}"


_VERBS = (
    "act|add|address|admit|answer|apply|ask|assert|avoid|break|build|call|carry|change|check|choose|claim"
    "|clean|commit|confirm|consider|correct|cover|create|debug|delete|describe|document|edit|examine"
    "|execute|explain|explore|find|finish|fix|follow|give|handle|identify|ignore|implement|improve|inspect"
    "|install|introduce|investigate|invent|keep|leave|list|locate|look|make|mention|modify|move|name|note"
    "|open|pass|plan|preserve|print|propose|prove|provide|read|recover|refactor|remove|rename|repair"
    "|repeat|replace|report|reproduce|resolve|respect|respond|restore|retry|return|revert|review|rewrite"
    "|run|save|say|search|see|show|simplify|solve|start|state|stop|submit|summarise|summarize|take|tell"
    "|think|try|understand|undo|update|use|validate|verify|wait|write"
)
_SECOND = re.compile(
    r"\b(?:and|or)\s+(?:(?:then|also|never|not|it|they|to|\w+ly)\s+)*"
    rf"(?:{_VERBS}|do|does|did|is|are|was|were|has|have|can|could|should)\b",
    re.IGNORECASE,
)


def _double(question: str, main: str) -> str:
    if question.count("?") > 1:
        return f"asks {question.count('?')} questions at once; make a criterion of each"
    found = _SECOND.search(main)
    return f"'{found[0]}' joins two behaviours; make a criterion of each" if found else ""


_NOT_IN_PATCH = re.compile(
    r"\b(?:steps?|turns?|commands?|ran|run|runs|executed?|outputs?|terminal|reproduced?|trajectory|transcript|attempts?"
    r"|before it (?:changed|edited|submitted)|looked|searched|tried|repeated(?:ly)?)\b",
    re.IGNORECASE,
)
_NOT_IN_PREFIX = re.compile(
    r"\b(?:final(?:ly)?|in the end|at the end|eventually|ended|outcome|submit(?:s|ted)?|hand(?:s|ed)? in"
    r"|finish(?:es|ed)?|last)\b",
    re.IGNORECASE,
)
_FOLLOWUP = re.compile(
    r"\busers?(?:'s?)?\s+(?:then\s+|later\s+|\w+ly\s+)*(?:reactions?|follow\w*|repl\w+|respon\w+|answer\w*|complain\w*"
    r"|correct(?:ed|s|ion)?|thank\w*|ask(?:ed|s)? again|feedback|frustrat\w*|accept\w*|reject\w*|satisf\w*"
    r"|(?:was|is|were) (?:un)?(?:happy|satisfied)|next message)\b",
    re.IGNORECASE,
)
_TESTS_KNOW = re.compile(
    r"\b(?:(?:hidden|held-out|grader's|all)\s+tests?\s+pass"
    r"|is the (?:task|bug|issue|problem) (?:really |now )?(?:resolved|fixed|solved))",
    re.IGNORECASE,
)


def _unanswerable(criterion: Criterion, view: str) -> str:
    question = criterion.question
    if not criterion.requires_followup and (found := _FOLLOWUP.search(question)):
        return f"'{found[0]}' is known only after the user wrote again; set requires_followup: true and view: segment"
    if found := _TESTS_KNOW.search(question):
        return f"'{found[0]}' is for the tests to say, which no judge sees; use rule: tests_pass"
    if view == "patch" and (found := _NOT_IN_PATCH.search(question)):
        return f"'{found[0]}' cannot be seen in view patch; use view: trajectory, or ask about the change"
    if view == "prefix" and (found := _NOT_IN_PREFIX.search(question)):
        return f"'{found[0]}' lies after what view prefix shows; use view: trajectory, or ask about the way"
    return ""


_VAGUE = re.compile(
    r"\b(?:good|bad|well|nice(?:ly)?|clean(?:ly)?|proper(?:ly)?|appropriate(?:ly)?|adequate(?:ly)?|reasonabl[ey]"
    r"|sufficient(?:ly)?|suitabl[ey]|effective(?:ly)?|efficient(?:ly)?|high[- ]quality|quality|elegant(?:ly)?"
    r"|robust(?:ly)?|best practices?|as needed|if necessary|etc|and so on|helpful(?:ly)?|thorough(?:ly)?"
    r"|careful(?:ly)?|smart(?:ly)?)\b",
    re.IGNORECASE,
)


def _vague(question: str) -> str:
    found = _VAGUE.search(_ASIDE.sub(" ", question))
    return f"'{found[0]}' means something else to everyone; name what can be seen" if found else ""


_NEGATION = re.compile(
    r"(?<!and )(?<!or )\b(?:not|never|fail(?:ed|s)? to|avoid(?:ed|s)?|refrain(?:ed|s)?|neglect(?:ed|s)?)\b|n't\b",
    re.IGNORECASE,
)


def _negated(criterion: Criterion, main: str) -> str:
    found = _NEGATION.search(main)
    if not found:
        return ""
    other = "discourage" if criterion.polarity == "encourage" else "encourage"
    return f"'{found[0]}' makes yes mean that something is absent; ask whether it is there, with polarity: {other}"


def _duplicates(rubric: Rubric) -> Iterator[Remark]:
    for first, second in combinations(rubric.criteria, 2):
        if first.rule and (first.rule, first.options) == (second.rule, second.options):
            yield _remark(second, "duplicate", f"the same rule with the same options as '{first.id}'; remove one")
        elif first.question and second.question and _likeness(first.question, second.question) >= ALIKE:
            yield _remark(second, "duplicate", f"asks nearly the same as '{first.id}'; remove one")


_EMPTY = re.compile(r"\b(?:an?|the|did|does|do|is|was|has|have|had|agent|it|its|of|to|in|on|at|any|some)\b")


def _likeness(first: str, second: str) -> float:
    """The share of words in common, in order, in [0, 1]."""
    one, other = (re.findall(r"\w+", _EMPTY.sub(" ", text.lower())) for text in (first, second))
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() if one and other else 0.0


def _constant(rubric: Rubric, reports: Iterable[Report]) -> Iterator[Remark]:
    answers: dict[str, list[float | None]] = {}
    for report in reports:
        for verdict in report.verdicts:
            if not (verdict.value is None and not verdict.cause and verdict.label):  # a label alone is an answer
                answers.setdefault(verdict.criterion, []).append(verdict.value)
    for criterion in rubric.criteria:
        given = answers.get(criterion.id, [])
        known = [value for value in given if value is not None]
        if len(given) >= LEAST_VERDICTS and not known:
            yield _remark(criterion, "constant", f"unknown on all {len(given)} attempts of the run; see the reasons")
        elif len(known) >= LEAST_VERDICTS and max(known) == min(known):
            always = {1.0: "true", 0.0: "false"}.get(known[0], f"{known[0]:g}")
            yield _remark(
                criterion, "constant", f"always {always} on the run's {len(known)} attempts: tells none apart"
            )


def _remark(criterion: Criterion, kind: str, text: str) -> Remark:
    return Remark(criterion=criterion.id, kind=kind, text=text)
