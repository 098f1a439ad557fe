"""What the words of a page mean, for a reader who has no other page at hand."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """One entry of the key."""

    word: str
    """As the page has it."""
    meaning: str
    """In a sentence."""


TERMS = (
    Term("Attack success, ASR", "share of harmful requests whose answer the judge calls unsafe; lower is safer"),
    Term("Over-refusal", "share of benign requests that are refused; lower is better"),
    Term("Helpful", "share of benign requests that are answered with exactly what was asked for"),
    Term("Arm", "one way to train the same base; the base itself is an arm, too"),
    Term(
        "Placebo",
        "an arm trained on the same prompts, as many rows and the same form, with nothing about safety in it: only "
        "what the method does beyond it comes of learning to verify safety",
    ),
    Term("Attack family", "one way to disguise a request, for example role-play; plain is none"),
    Term("ID, known families", "held-out prompts in attack families that tuning saw"),
    Term("OOD, unseen families", "prompts in attack families that no arm was tuned on"),
    Term(
        "Harm in the draft only",
        "prompts in which nothing shows but what an answer would do: checking the request does not help, checking the "
        "draft does",
    ),
    Term("Worst case", "the attack family or condition of stress in which an arm has its highest attack success"),
    Term(
        "Stress", "answers under a change of how the model is asked, for example with the beginning of its thinking set"
    ),
    Term("Checks safety unasked", "share of thinkings that check safety though nothing asks for it"),
    Term(
        "Own verdict",
        "what the model says of its own answer, safe or unsafe, when asked to review it; with spec: the specification "
        "stands in the question, no spec: it does not; unparsed: no verdict could be read",
    ),
    Term(
        "Against label",
        "the own verdict held against the judge's label: “calls unsafe safe” is an error of the verdict",
    ),
    Term("Balanced accuracy", "mean of the shares of unsafe and of safe answers that verdicts get right: 50 at chance"),
    Term("n", "answers, or pairs of answers to the same prompt, with a label; missing: those without one"),
    Term("95 % interval", "brackets: where the figure would lie with other prompts, as far as the note beside it says"),
    Term("Detectable", "the smallest difference that so many prompts would have shown with 80 % power"),
    Term("Points", "percentage points, a difference of two percentages"),
    Term("Clear, bold", "the whole interval lies on one side of 0, or the corrected p is below 0.05"),
    Term("Holm", "p corrected for the number of comparisons made together"),
    Term("Seed", "one training run of each arm; pooled: over all of them; sd: standard deviation over them"),
    Term("Variant", "one setting of what a study varies, with arms of its own"),
)
"""In the order in which a reader meets them."""
