"""The benchmarks and prompt sources that are known by name, on the Hugging Face hub.

A revision is pinned where a commit hash could be found in public reference text; elsewhere it is `main`, which may
change under a study: set the option `revision` to the commit that the run's log names. Facts that could not be checked
against a dataset's card or published code that reads it are named in `unconfirmed`, and the listing shows them.

Each instance is an entry point: called with its options, it gives a `Benchmark`.
"""

from __future__ import annotations

from sinternal.benchmarks import problems
from sinternal.benchmarks.hub import HubBenchmark, Rows, When

_TAB_SEPARATED = {"delimiter": "\t", "keep_default_na": False}

strongreject = HubBenchmark(
    name="strongreject",
    dataset="walledai/StrongREJECT",
    revision="df54272b395ce9e584d2f8140519935425d8549f",
    parts={"eval": (Rows("train", "prompt", harmful=True, category="category"),)},
    size=313,
    licence="MIT",
    gated=True,
    evaluation_only=True,
    judge="strongreject",
)
"""Forbidden requests of StrongREJECT (Souly et al. 2024, arXiv 2402.10260)."""

harmbench = HubBenchmark(
    name="harmbench",
    dataset="walledai/HarmBench",
    parts={"eval": (Rows("train", "prompt", harmful=True, config="standard", category="category"),)},
    size=200,
    licence="MIT",
    gated=True,
    evaluation_only=True,
    judge="harmbench",
)
"""Standard text behaviours of HarmBench (Mazeika et al. 2024, arXiv 2402.04249)."""

advbench = HubBenchmark(
    name="advbench",
    dataset="walledai/AdvBench",
    parts={"eval": (Rows("train", "prompt", harmful=True),)},
    size=520,
    licence="MIT",
    gated=True,
    evaluation_only=True,
)
"""Harmful behaviours of AdvBench (Zou et al. 2023, arXiv 2307.15043)."""

jailbreakbench = HubBenchmark(
    name="jailbreakbench",
    dataset="JailbreakBench/JBB-Behaviors",
    revision="886acc352a31533ffbcf4ef22c744658688086fc",
    parts={
        "eval": (
            Rows("harmful", "Goal", harmful=True, config="behaviors", category="Category", pair="Index"),
            Rows("benign", "Goal", harmful=False, config="behaviors", category="Category", pair="Index"),
        )
    },
    size=200,
    licence="MIT",
    evaluation_only=True,
    unconfirmed="that the column Index pairs the twins",
)
"""100 harmful behaviours and their benign twins (Chao et al. 2024, arXiv 2404.01318)."""

wildjailbreak = HubBenchmark(
    name="wildjailbreak",
    dataset="allenai/wildjailbreak",
    parts={
        "eval": (
            Rows(
                "train",
                "adversarial",
                harmful=When("data_type", "adversarial_harmful", "adversarial_benign"),
                config="eval",
                family="wildjailbreak",
                read=_TAB_SEPARATED,
            ),
        )
    },
    size=2_210,
    licence="ODC-BY, with AI2's responsible-use terms",
    gated=True,
    evaluation_only=True,
)
"""Jailbreaks collected in the wild, 2,000 harmful and 210 benign (Jiang et al. 2024, arXiv 2406.18510)."""

wildjailbreak_vanilla = HubBenchmark(
    name="wildjailbreak-vanilla",
    dataset="allenai/wildjailbreak",
    parts={
        "train": (
            Rows(
                "train",
                "vanilla",
                harmful=True,
                config="train",
                only=When("data_type", "vanilla_harmful"),
                read=_TAB_SEPARATED,
            ),
            Rows(
                "train",
                "vanilla",
                harmful=False,
                config="train",
                only=When("data_type", "vanilla_benign"),
                read=_TAB_SEPARATED,
            ),
        )
    },
    size=100_100,
    licence="ODC-BY, with AI2's responsible-use terms",
    gated=True,
    evaluation_only=False,
    unconfirmed="size",
)
"""The plain requests of WildJailbreak's training set."""

fortress = HubBenchmark(
    name="fortress",
    dataset="ScaleAI/fortress_public",
    revision="0c096becbc75bb12065c8059a53960c7f0d4d35c",
    parts={
        "eval": (
            Rows(
                "train",
                "adversarial_prompt",
                harmful=True,
                category="risk_subdomain",
                family="fortress",
                facts=("rubric", "risk_domain"),
                pair="adversarial_prompt",
            ),
            Rows("train", "benign_prompt", harmful=False, category="risk_subdomain", pair="adversarial_prompt"),
        )
    },
    size=1_000,
    licence="CC-BY-4.0; its card forbids adversarial training",
    evaluation_only=True,
)
"""500 expert-written jailbreaks and their benign twins (Knight et al. 2025, arXiv 2506.14922)."""

sorry_bench = HubBenchmark(
    name="sorry-bench",
    dataset="sorry-bench/sorry-bench-202503",
    revision="612a4e1f45db8adf884fa62318ddf9fa1c6e75e9",
    parts={
        "eval": (Rows("train", "turns", harmful=True, category="category", only=When("prompt_style", "base")),),
    },
    size=440,
    licence="its own (sorry-bench)",
    gated=True,
    evaluation_only=True,
)
"""Unsafe requests in 44 categories, unmutated (Xie et al. 2024, arXiv 2406.14598)."""

xstest = HubBenchmark(
    name="xstest",
    dataset="Paul/XSTest",
    parts={"eval": (Rows("train", "prompt", harmful=When("label", "unsafe", "safe"), category="type"),)},
    size=450,
    licence="CC-BY-4.0",
    evaluation_only=True,
)
"""250 safe requests that sound risky and 200 unsafe contrasts (Röttger et al. 2023, arXiv 2308.01263).

The card calls the contrasts direct ones, but no column is documented that would tell which of the 200 belongs to which
of the 250; so its prompts have no pairs.
"""

or_bench = HubBenchmark(
    name="or-bench",
    dataset="bench-llm/or-bench",
    parts={
        "eval": (
            Rows("train", "prompt", harmful=False, config="or-bench-hard-1k", category="category"),
            Rows("train", "prompt", harmful=True, config="or-bench-toxic", category="category"),
        )
    },
    size=1_974,
    licence="CC-BY-4.0",
    evaluation_only=True,
)
"""1,319 hard safe requests and 655 toxic ones (Cui et al. 2024, arXiv 2405.20947)."""

oktest = HubBenchmark(
    name="oktest",
    dataset="walledai/OKTest",
    parts={"eval": (Rows("train", "prompt", harmful=False),)},
    size=300,
    licence="unknown",
    evaluation_only=True,
    unconfirmed="dataset id, split, column, size, licence, gating",
)
"""Safe questions with dangerous words (Shi et al. 2024, arXiv 2401.17633)."""

falsereject = HubBenchmark(
    name="falsereject",
    dataset="AmazonScience/FalseReject",
    parts={"eval": (Rows("test", "prompt", harmful=False, category="category_text"),)},
    size=1_187,
    licence="CC-BY-NC-4.0",
    evaluation_only=True,
    unconfirmed="that the test split, like the training split, has the column category_text",
)
"""Human-written safe requests that sound toxic (Zhang et al. 2025, arXiv 2505.08054)."""

h_cot = HubBenchmark(
    name="h-cot",
    dataset="DukeCEICenter/Malicious_Educator_hcot_DeepSeek-R1",
    parts={
        "eval": (
            Rows(
                "train",
                "Full_Input (H-CoT + Request)",
                harmful=True,
                category="Category",
                goal="Goal",
                family="h-cot",
            ),
        )
    },
    size=50,
    licence="CC-BY-NC-SA-4.0",
    evaluation_only=True,
    unconfirmed="size",
)
"""Requests with a forged chain of thought, made for DeepSeek-R1 (Kuo et al. 2025, arXiv 2502.12893)."""

_SELF_RESET = "aeca4f36d3ada842ab5ddf3fe0ac0dd9bf2bd42a"

jailbreak_r1 = HubBenchmark(
    name="jailbreak-r1",
    dataset="Ing1024/Self-ReSET",
    on_github=True,
    revision=_SELF_RESET,
    parts={
        "eval": (
            Rows(
                "train",
                "prompt",
                harmful=When("label", "unsafe"),
                family="jailbreak-r1",
                file="data/evaluation/safety/srj_jr.jsonl",
            ),
        )
    },
    size=313,
    licence="unknown",
    evaluation_only=True,
    unconfirmed=(
        "licence (the repository names none), size (that of StrongREJECT); that it is the set of the method's "
        "evaluation, which calls it SRJ_JR; which row disguises which request of StrongREJECT"
    ),
)
"""StrongREJECT's requests as the attacker model Jailbreak-R1 rewrote them (Guo et al. 2025, arXiv 2506.00782).

That model is published, a set of its prompts is not; this one lies in the repository of the method's sibling work. It
does not say which request a row disguises, so that each is its own parent.
"""

wildjailbreak_250 = HubBenchmark(
    name="wildjailbreak-250",
    dataset="Ing1024/Self-ReSET",
    on_github=True,
    revision=_SELF_RESET,
    parts={
        "eval": (
            Rows(
                "train",
                "prompt",
                harmful=When("label", "unsafe"),
                family="wildjailbreak",
                file="data/evaluation/safety/wildjailbreak.jsonl",
            ),
        )
    },
    size=250,
    licence="ODC-BY, with AI2's responsible-use terms",
    evaluation_only=True,
    unconfirmed="size; licence (that of WildJailbreak, its source; the repository names none)",
)
"""250 of WildJailbreak's harmful evaluation prompts, as the method's group samples them.

Other groups draw other 250: figures are comparable only where the same file was used.
"""

mousetrap = HubBenchmark(
    name="mousetrap",
    dataset="",
    parts={"eval": (Rows("train", "instruction", harmful=True, goal="question", family="mousetrap"),)},
    size=50,
    licence="unknown",
    evaluation_only=True,
    instead=(
        "make it with the attack's code, and name the file: {benchmark: file, options: {path: TrotterStrong.json, "
        "columns: {text: instruction, goal: question}, harmful: true, family: mousetrap, evaluation_only: true}}"
    ),
    unconfirmed="size, licence; the columns are those that published code reads of a file made with the attack's code",
)
"""Mousetrap's chains of iterated mappings over the requests of Trotter (Yao et al. 2025, arXiv 2502.15806).

Code of others reads files TrotterStrong and TrotterAdvanced, each a JSON list of objects with the fields `question`
and `instruction`; no address of such a file was found, on the hub or elsewhere.
"""

star_1 = HubBenchmark(
    name="star-1",
    dataset="UCSC-VLAA/STAR-1",
    parts={"train": (Rows("train", "question", harmful=True, category="category", answer="response"),)},
    size=1_000,
    licence="Apache-2.0",
    evaluation_only=False,
    unconfirmed="licence (that of its sibling STAR-41K)",
)
"""Harmful requests for safety tuning, with DeepSeek-R1's thinking and answer (Wang et al. 2025, arXiv 2504.01903).

Columns question, response, category, source and score; a response is `<think>…</think>` and the answer, as the
published training code takes it apart.
"""

star_benign_915 = HubBenchmark(
    name="star-benign-915",
    dataset="UCSC-VLAA/STAR-benign-915",
    parts={"train": (Rows("train", "question", harmful=False, answer="response"),)},
    size=915,
    licence="Apache-2.0",
    evaluation_only=False,
    unconfirmed="licence (that of its sibling STAR-41K); that its answers, too, begin with a thinking",
)
"""Benign look-alikes of STAR-1's requests."""

safechain = HubBenchmark(
    name="safechain",
    dataset="UWNSL/SafeChain",
    parts={
        "train": (
            Rows("train", "instruction", harmful=When("label", "vanilla_harmful", "vanilla_benign"), category="label"),
        )
    },
    size=40_000,
    licence="unknown",
    evaluation_only=False,
    unconfirmed="licence (the card names none), the values of label",
)
"""Requests of SafeChain, drawn from WildJailbreak (Jiang et al. 2025, arXiv 2502.12025)."""

_UNSAFE_ANSWER = When("is_safe", False)

beavertails = HubBenchmark(
    name="beavertails",
    dataset="PKU-Alignment/BeaverTails",
    parts={
        "train": (Rows("30k_train", "prompt", harmful=True, category="category", only=_UNSAFE_ANSWER),),
        "eval": (Rows("30k_test", "prompt", harmful=True, category="category", only=_UNSAFE_ANSWER),),
    },
    size=30_207,
    licence="CC-BY-NC-4.0",
    evaluation_only=False,
    unconfirmed="size; that all requests with an unsafe answer are harmful: its labels are of answers",
)
"""Requests to which somebody got an unsafe answer (Ji et al. 2023, arXiv 2307.04657)."""

_UNSAFE_FIRST_ANSWER = When("is_response_0_safe", False)

pku_saferlhf = HubBenchmark(
    name="pku-saferlhf",
    dataset="PKU-Alignment/PKU-SafeRLHF",
    parts={
        "train": (
            Rows(
                "train",
                "prompt",
                harmful=True,
                config="default",
                category="response_0_harm_category",
                only=_UNSAFE_FIRST_ANSWER,
            ),
        ),
        "eval": (
            Rows(
                "test",
                "prompt",
                harmful=True,
                config="default",
                category="response_0_harm_category",
                only=_UNSAFE_FIRST_ANSWER,
            ),
        ),
    },
    size=82_118,
    licence="CC-BY-NC-4.0",
    evaluation_only=False,
    unconfirmed="size; that all requests with an unsafe answer are harmful: its labels are of answers",
)
"""Requests whose first answer was unsafe (Ji et al. 2024, arXiv 2406.15513)."""

dolly = HubBenchmark(
    name="dolly",
    dataset="databricks/databricks-dolly-15k",
    revision="bdd27f4d94b9c1f951818a7da7fd7aeea5dbff1a",
    parts={"train": (Rows("train", "instruction", harmful=False, category="category", only=When("context", "")),)},
    size=15_011,
    licence="CC-BY-SA-3.0",
    evaluation_only=False,
    unconfirmed="size: it counts requests with a reference passage, too, which are left out",
)
"""Everyday instructions that need no reference passage, by Databricks' staff."""

ENTRIES: tuple[HubBenchmark, ...] = (
    strongreject,
    harmbench,
    advbench,
    jailbreakbench,
    wildjailbreak,
    wildjailbreak_vanilla,
    fortress,
    sorry_bench,
    xstest,
    or_bench,
    oktest,
    falsereject,
    h_cot,
    jailbreak_r1,
    wildjailbreak_250,
    mousetrap,
    star_1,
    star_benign_915,
    safechain,
    beavertails,
    pku_saferlhf,
    dolly,
    *problems.ENTRIES,
)
"""All of them."""
