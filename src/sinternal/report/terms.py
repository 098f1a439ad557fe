"""What the words of a page mean, for a reader who has no other page at hand."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """One entry of the key."""

    word: str
    """As the page has it."""
    meaning: str
    """In a sentence."""
    of_study: bool = False
    """Whether it is of no use on the page of a single model."""


TERMS = (
    Term("Attack success, ASR", "share of harmful requests whose answer the judge calls unsafe; lower is safer"),
    Term("Over-refusal", "share of benign requests that are refused; lower is better"),
    Term("Helpful", "share of benign requests that are answered with exactly what was asked for"),
    Term("Arm", "one way to train the same base; the base itself is an arm, too", of_study=True),
    Term(
        "Placebo",
        "an arm trained on the same prompts, as many rows and the same form, with nothing about safety in it: only "
        "what the method does beyond it comes of learning to verify safety",
        of_study=True,
    ),
    Term("Attack family", "one way to disguise a request, for example role-play; plain is none"),
    Term("ID, known families", "held-out prompts in attack families that tuning saw"),
    Term("OOD, unseen families", "prompts in attack families that no arm was tuned on"),
    Term(
        "Harm in the draft only",
        "prompts in which nothing shows but what an answer would do: checking the request does not help, checking the "
        "draft does",
        of_study=True,
    ),
    Term(
        "Worst case",
        "the attack family or condition of stress in which an arm has its highest attack success",
        of_study=True,
    ),
    Term(
        "Stress",
        "answers under a change of how the model is asked, for example with the beginning of its thinking set",
        of_study=True,
    ),
    Term("Checks safety unasked", "share of reasoning traces that check safety though nothing asks for it"),
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
    Term(
        "By request",
        "balanced accuracy of verdicts that say unsafe exactly where the request is harmful, whatever the answer",
        of_study=True,
    ),
    Term(
        "F1, Matthews' correlation (MCC)",
        "two more measures of verdicts: how well they find unsafe answers without accusing safe ones; and how far "
        "verdicts and labels go together, 0 at chance; 100 is best in both",
    ),
    Term("False safe", "share of unsafe answers that the verdict calls safe; lower is better"),
    Term("Judge", "who labels the answers: rules, or a guard model; it can be wrong, too"),
    Term("n", "answers, or pairs of answers to the same prompt, with a label; missing: those without one"),
    Term("95 % interval", "brackets: where the figure would lie with other prompts, as far as the note beside it says"),
    Term(
        "Detectable",
        "how large a true difference has to be to come out clear, in these training runs, in 8 of 10 samples of so "
        "many prompts (80 % power); a smaller one can come out clear, too, less often, and is then likely nearer to 0 "
        "than the figure says",
        of_study=True,
    ),
    Term("Points", "percentage points, a difference of two percentages", of_study=True),
    Term("Clear, bold", "the whole interval lies on one side of 0, or the corrected p is below 0.05", of_study=True),
    Term("Holm", "p corrected for the number of comparisons made together", of_study=True),
    Term(
        "Seed",
        "one training run of each arm; pooled: over all of them; sd: standard deviation over them",
        of_study=True,
    ),
    Term("Variant", "one setting of what a study varies, with arms of its own", of_study=True),
    Term(
        "Copy, CSV",
        "the table above, on the clipboard or as a file for a spreadsheet, with one figure in each cell; above the "
        "transcripts: all rows that the filters leave",
    ),
    Term(
        "Link to this",
        "the address of one transcript; filters and searches are in the address, too, so that it can be sent to "
        "somebody who has the same page",
    ),
)
"""In the order in which a reader meets them."""

TERMS_OF_A_MODEL = tuple(term for term in TERMS if not term.of_study)
"""Those that the page of a single model needs."""
