"""The catalogue's mathematics problems on the hub: what reinforcement learning mixes in, and what measures reasoning.

What is said of entries in `sinternal.benchmarks.catalog` holds here, too.
"""

from __future__ import annotations

from sinternal.benchmarks.hub import HubBenchmark, Rows, Solution

_AFTER_HASHES = Solution("answer", after="####")

gsm8k = HubBenchmark(
    name="gsm8k",
    dataset="openai/gsm8k",
    revision="740312add88f781978c0658806c59bc2815b9866",
    parts={
        "train": (Rows("train", "question", harmful=False, config="main", solution=_AFTER_HASHES),),
        "eval": (Rows("test", "question", harmful=False, config="main", solution=_AFTER_HASHES),),
    },
    size=8_792,
    licence="MIT",
    evaluation_only=False,
    judge=None,
)
"""7,473 and 1,319 word problems of primary school (Cobbe et al. 2021, arXiv 2110.14168)."""

deepscaler = HubBenchmark(
    name="deepscaler",
    dataset="agentica-org/DeepScaleR-Preview-Dataset",
    revision="b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29",
    parts={"train": (Rows("train", "problem", harmful=False, solution=Solution("answer")),)},
    size=40_315,
    licence="MIT",
    evaluation_only=False,
    judge=None,
    unconfirmed="size: it counts problems without an answer, too, if there are any, which are left out",
)
"""Competition problems up to 2023: AIME, AMC, Omni-MATH and Still; some of its answers are known to be wrong."""

dapo_math_17k = HubBenchmark(
    name="dapo-math-17k",
    dataset="BytedTsinghua-SIA/DAPO-Math-17k",
    parts={
        "train": (
            Rows(
                "train",
                "prompt",
                harmful=False,
                solution=Solution("reward_model", field="ground_truth"),
                around=(
                    "Solve the following math problem step by step. The last line of your response should be of the "
                    "form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n",
                    '\n\nRemember to put your answer on its own line after "Answer:".',
                ),
            ),
        )
    },
    size=1_791_700,
    licence="Apache-2.0",
    evaluation_only=False,
    judge=None,
    unconfirmed="size: about 17,400 different problems, each about a hundred times",
)
"""Competition problems with whole numbers as answers, in the training of DAPO (Yu et al. 2025, arXiv 2503.14476).

A prompt is a list of one message, which wraps the problem in what DAPO asks for; that is taken off again, since all
problems are asked for in one form here. The solution is `reward_model.ground_truth`.
"""

dapo_math = HubBenchmark(
    name="dapo-math",
    dataset="open-r1/DAPO-Math-17k-Processed",
    parts={
        "train": (
            Rows(
                "train",
                "prompt",
                harmful=False,
                config="all",
                solution=Solution("solution"),
                around=dapo_math_17k.parts["train"][0].around,
            ),
        )
    },
    size=17_398,
    licence="unknown",
    evaluation_only=False,
    judge=None,
    unconfirmed="licence (the card names none; that of DAPO-Math-17k, its source, is Apache-2.0), size",
)
"""The problems of dapo-math-17k, each once: a hundredth of the download.

Its configurations are `all`, `en` and `cn`. The card's script takes the message's text as `prompt` and `ground_truth`
as `solution`; whatever is left of DAPO's frame is taken off.
"""

math_500 = HubBenchmark(
    name="math-500",
    dataset="HuggingFaceH4/MATH-500",
    revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    parts={"eval": (Rows("test", "problem", harmful=False, category="subject", solution=Solution("answer")),)},
    size=500,
    licence="unknown",
    evaluation_only=True,
    judge=None,
    unconfirmed="licence (the card names none; that of MATH, its source, is MIT)",
)
"""500 problems of MATH's test set (Lightman et al. 2023, arXiv 2305.20050)."""

aime_2024 = HubBenchmark(
    name="aime-2024",
    dataset="HuggingFaceH4/aime_2024",
    revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
    parts={"eval": (Rows("train", "problem", harmful=False, solution=Solution("answer")),)},
    size=30,
    licence="unknown",
    evaluation_only=True,
    judge=None,
    unconfirmed="licence (the card names none; that of AI-MO/aimo-validation-aime, its source, is Apache-2.0)",
)
"""Both papers of the American Invitational Mathematics Examination of 2024."""

aime_2025 = HubBenchmark(
    name="aime-2025",
    dataset="opencompass/AIME2025",
    parts={
        "eval": tuple(
            Rows("test", "question", harmful=False, config=f"AIME2025-{paper}", solution=Solution("answer"))
            for paper in ("I", "II")
        )
    },
    size=30,
    licence="MIT",
    evaluation_only=True,
    judge=None,
)
"""Both papers of the American Invitational Mathematics Examination of 2025, 15 problems each."""

ENTRIES: tuple[HubBenchmark, ...] = (
    gsm8k,
    deepscaler,
    dapo_math_17k,
    dapo_math,
    math_500,
    aime_2024,
    aime_2025,
)
"""All of them."""
