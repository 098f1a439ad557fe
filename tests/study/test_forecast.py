"""What a plan takes of a machine is worked out before anything runs, without loading a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinternal.errors import ModelError, RecipeError, SInternalError
from sinternal.models.shape import find_shape, published_configs
from sinternal.settings.launch import Launch, Sharing
from sinternal.settings.named_engines import NamedEngine
from sinternal.settings.recipe import load_recipe
from sinternal.settings.training import Method, SftSettings, WeightSettings
from sinternal.store import Store
from sinternal.study.cost import estimate
from sinternal.study.forecast import Forecast, Work, forecast
from sinternal.study.hardware import accelerators, read_hardware
from sinternal.study.lengths import Lengths
from sinternal.study.local import Writer, writer_of, writing_room
from sinternal.study.memory import Batch, Item, Spread, peak, training_memory
from sinternal.study.plan import make_plan
from tests.commands import in_process

SEVEN = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
SHIPPED = (
    "r1-distill-qwen-7b",
    "r1-distill-qwen-7b-arms",
    "r1-distill-qwen-7b-rl",
    "r1-distill-qwen-14b",
    "r1-distill-llama-8b",
    "qwen3-8b",
)
SMALL = ("seeds=[0]", "prompts.train_limit=8", "prompts.eval_limit=8")
TWO_ARMS = "arms=[{name: base, train_on: nothing}, {name: sinternal, train_on: verification}]"


def of(items: list[Item], name: str) -> float:
    return next(item.figure.value for item in items if item.name == name)


def predict(tmp_path: Path, hardware: str, *overrides: str, recipe: str = "quickstart", **more: object) -> Forecast:
    loaded = load_recipe(recipe, [*SMALL, *overrides])
    planned = estimate(make_plan(loaded), Store(tmp_path / "store"))
    return forecast(planned, read_hardware(hardware), launch=loaded.launch, **more)  # type: ignore[arg-type]


def works_of(prediction: Forecast, stage: str) -> list[Work]:
    return [work for work in prediction.works if work.task.stage.name == stage]


@pytest.fixture
def seven(tmp_path: Path) -> str:
    """A folder that looks like a model of 7.6 billion parameters, and holds none."""
    folder = tmp_path / "seven"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(published_configs()[SEVEN]))
    return f"target.model={folder}"


# hardware


def test_a_machine_is_read_as_it_is_written() -> None:
    assert read_hardware("8xh100").name == read_hardware("8 \u00d7 H100").name == "8xH100"
    assert read_hardware("A100-80").count == 1
    assert read_hardware("cpu").is_cpu
    assert read_hardware("cpu").accelerator.memory > 1e8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8xH10", "no accelerator 'H10'; did you mean 8xH100"),
        ("8xA100", "did you mean 8xA100-40 or 8xA100-80"),
        ("4xA100-80GB", "did you mean 4xA100-80"),
        ("H100x8", "did you mean 8xH100"),
        ("H100:8", "did you mean 8xH100"),
        ("8H100", "did you mean 8xH100"),
        ("2x NVIDIA H100 SXM", "did you mean 2xH100"),
        ("4090", "did you mean 1xRTX4090"),
        ("V100", "known ones: A10, "),
        ("", "known ones: A10, "),
        ("2xcpu", "cpu is this machine, with all its cores; write cpu"),
        ("2xabacus", "known ones: A10, "),
        ("0xH100", "write 1xH100"),
    ],
)
def test_an_unknown_machine_is_one_line_with_the_nearest(text: str, words: str) -> None:
    with pytest.raises(SInternalError, match=words):
        read_hardware(text)


def test_every_accelerator_has_its_numbers_and_their_source() -> None:
    for kind in accelerators().values():
        assert min(kind.memory, kind.bandwidth, kind.flops) > 0
        assert kind.source
        assert kind.name == "cpu" or 50 < kind.flops / kind.bandwidth < 1000  # operations to a byte


# memory


def test_full_tuning_takes_sixteen_bytes_a_parameter_and_its_copies() -> None:
    shape = find_shape(SEVEN)
    items = training_memory(shape, WeightSettings(method=Method.FULL), Batch(1, 4096, accumulates=True), on_gpu=True)
    kept = sum(of(items, name) for name in ("weights", "gradients", "optimiser"))
    assert kept == 16 * shape.parameters
    assert of(items, "bfloat16 copies") == 2 * (shape.parameters - shape.vocab * shape.hidden)
    assert peak(items) > kept


def test_lora_takes_a_fraction_of_full_tuning() -> None:
    shape, batch = find_shape(SEVEN), Batch(4, 4096, accumulates=True)
    full, lora = (
        training_memory(shape, WeightSettings(method=method), batch, on_gpu=True)
        for method in (Method.FULL, Method.LORA)
    )
    assert of(lora, "weights") == 2 * shape.parameters
    assert of(lora, "optimiser") == 8 * shape.adapter_parameters(16)
    assert peak(lora) < peak(full) / 3


def test_without_checkpointing_every_layer_keeps_its_activations() -> None:
    shape, batch, settings = find_shape("Qwen/Qwen3-1.7B"), Batch(2, 512), WeightSettings(method=Method.LORA)
    on_gpu = of(training_memory(shape, settings, batch, on_gpu=True), "activations")
    on_cpu = of(training_memory(shape, settings, batch, on_gpu=False), "activations")
    assert on_cpu > 20 * on_gpu


def test_gradients_wait_for_the_next_pass_only_if_a_step_has_several() -> None:
    shape, settings = find_shape("Qwen/Qwen3-1.7B"), WeightSettings(method=Method.FULL)
    one, several = (
        peak(training_memory(shape, settings, Batch(1, 256, accumulates=more), on_gpu=True)) for more in (False, True)
    )
    assert several > one


@pytest.mark.parametrize("sharing", [Sharing.FSDP2, Sharing.ZERO3])
def test_a_sharded_model_is_divided_by_the_processes(sharing: Sharing) -> None:
    shape, batch, settings = find_shape(SEVEN), Batch(1, 1024), WeightSettings(method=Method.FULL)
    whole, eighth = (training_memory(shape, settings, batch, on_gpu=True, spread=Spread(n, sharing)) for n in (1, 8))
    for name in ("weights", "gradients", "optimiser"):
        assert of(eighth, name) == of(whole, name) / 8
    for name in ("checkpoints", "activations", "logits"):
        assert of(eighth, name) == of(whole, name)
    assert "bfloat16 copies" not in {item.name for item in eighth}
    layer = (shape.parameters - 2 * shape.vocab * shape.hidden - shape.hidden) // shape.layers
    assert (
        of(eighth, "gathered weights")
        == {
            Sharing.FSDP2: 2 * (2 * layer + shape.vocab * shape.hidden + shape.hidden),
            Sharing.ZERO3: 2e9,
        }[sharing]
    )
    assert "the whole is 4 * trained with" in next(i for i in eighth if i.name == "gradients").figure.explanation


def test_processes_that_all_have_the_model_hold_it_and_the_buckets_of_its_gradients() -> None:
    shape, batch, settings = find_shape(SEVEN), Batch(1, 1024), WeightSettings(method=Method.FULL)
    one, many = (training_memory(shape, settings, batch, on_gpu=True, spread=Spread(n, Sharing.DDP)) for n in (1, 8))
    assert peak(many) == peak(one) + 4 * shape.parameters


@pytest.mark.parametrize(("micro", "rows"), [(None, 8), (2, 2), (32, 8)])
def test_a_process_takes_its_part_of_the_rows(micro: int | None, rows: int) -> None:
    settings = SftSettings(steps=1, batch=32, micro_batch=micro, learning_rate=1e-5)
    assert settings.of_a_process(4) == rows
    assert settings.of_a_process(1) == (micro or 32)


def test_the_cache_grows_with_the_texts_and_with_their_number() -> None:
    shape, machine = find_shape("Qwen/Qwen3-8B"), read_hardware("1xH100")

    def cache(text: int, batch: int) -> float:
        room = writing_room(
            shape, Writer("transformers", batch), machine, prompt=100, text=text, usual=text, texts=1000
        )
        return of(room.items, "KV cache")

    a_token = 2 * 36 * 8 * 128 * 2  # keys and values of 36 layers with 8 heads of 128 numbers in bfloat16
    assert cache(900, 1) == 1000 * a_token
    assert cache(1900, 1) == 2 * cache(900, 1)
    assert cache(900, 32) == 32 * cache(900, 1)


def test_vllm_takes_its_share_and_writes_as_many_texts_as_that_holds() -> None:
    shape, machine = find_shape(SEVEN), read_hardware("1xH100")
    short, long = (
        writing_room(
            shape, Writer("vllm", 1024, share=0.9, longest=34816), machine, prompt=0, text=text, usual=text, texts=9999
        )
        for text in (1000, 8000)
    )
    assert peak(short.items) == pytest.approx(0.9 * 80e9)
    assert short.sequences > 7 * long.sequences > 0


def test_engines_say_how_many_gpus_they_take() -> None:
    machine = read_hardware("8xA100-80")
    worker = {"name": "vllm", "options": {"tensor_parallel": 2, "max_model_len": 9000}}
    spread = writer_of(NamedEngine("ray", {"worker": worker, "concurrency": 3, "num_gpus": 2}, None), machine)
    assert spread is not None
    assert (spread.gpus, spread.split, spread.copies, spread.longest, spread.sequences) == (6, 2, 3, 9000, 256)
    served = NamedEngine("openai", {"base_url": "http://x/v1"}, None)
    assert writer_of(served, machine) is None


# plans


@pytest.mark.parametrize("recipe", SHIPPED)
def test_every_full_size_recipe_is_planned_for_eight_gpus_offline(recipe: str, tmp_path: Path) -> None:
    planned = estimate(make_plan(load_recipe(recipe, ["seeds=[0]"])), Store(tmp_path))
    prediction = forecast(planned, read_hardware("8xH100"))
    assert {"sample", "self_verify", "sft"} <= {work.task.stage.name for work in prediction.works}
    assert all(0 < work.least_hours < work.hours for work in prediction.works if work.read or work.learned)
    assert prediction.cost > 0
    assert any("of 8 GPUs the recipe uses 1" in note for note in prediction.notes)


def test_what_is_in_the_store_is_not_forecast_again(tmp_path: Path) -> None:
    prediction = predict(tmp_path, "cpu")
    assert all(work.hours > 0 and not work.mend for work in prediction.works)
    assert not [work for work in prediction.works if work.task.stage.name in ("judge", "prompts", "report")]


def test_a_model_that_is_too_big_is_a_sentence_with_its_mend(tmp_path: Path, seven: str) -> None:
    small = predict(tmp_path, "1xRTX4090", seven, TWO_ARMS, "sft.method=full")
    sentence = next(line for line in small.misfits if line.startswith("sft sinternal"))
    assert "RTX4090 has 24 GB" in sentence
    assert "set sft.method to lora" in sentence
    large = predict(tmp_path, "1xH100", seven, TWO_ARMS, "sft.method=full", "sft.max_length=1024", "sft.micro_batch=1")
    assert "take a GPU with more memory (B200" in next(
        line for line in large.misfits if line.startswith("sft sinternal")
    )
    assert not predict(
        tmp_path, "1xH100", seven, TWO_ARMS, "sft.method=lora", "sft.max_length=1024", "sft.micro_batch=1"
    ).misfits


FULL = ("sft.method=full", "sft.max_length=1024", "sft.batch=8", "sft.micro_batch=1")
SPREAD = ("workers=1", "launch.processes=8", "launch.config=fsdp2")


def test_a_model_that_fits_no_gpu_is_divided_among_several(tmp_path: Path, seven: str) -> None:
    def sentence(hardware: str, *overrides: str) -> str:
        prediction = predict(tmp_path, hardware, seven, TWO_ARMS, *FULL, *overrides)
        return next((line for line in prediction.misfits if line.startswith("sft sinternal")), "")

    assert "set launch: {processes: 8, config: fsdp2} (or zero3)" in sentence("8xH100")
    assert "take 2xH100 and set launch: {processes: 2, config: fsdp2}" in sentence("1xH100")
    assert "set launch: {processes: 8, config: fsdp2}" in sentence("8xH100", "workers=1", "launch.processes=8")
    assert sentence("8xH100", *SPREAD) == ""


def test_processes_share_the_time_and_each_has_a_gpu(tmp_path: Path, seven: str) -> None:
    alone = works_of(predict(tmp_path, "8xH100", seven, TWO_ARMS, *FULL), "sft")[0]
    spread = works_of(predict(tmp_path, "8xH100", seven, TWO_ARMS, *FULL, *SPREAD), "sft")[0]
    assert (alone.gpus, spread.gpus, spread.learned) == (1, 8, alone.learned)
    assert spread.least_hours == pytest.approx(alone.least_hours / 8)
    on_cpu = works_of(predict(tmp_path, "cpu", seven, TWO_ARMS, *FULL, *SPREAD), "sft")[0]
    assert (on_cpu.gpus, on_cpu.room) == (1, read_hardware("cpu").accelerator.memory / 8)


def test_rollouts_are_shared_out_among_the_processes(tmp_path: Path) -> None:
    alone, spread = (
        works_of(predict(tmp_path, "4xL40S", *given, recipe="microworld-rl"), "grpo")[0]
        for given in ((), ("workers=1", "launch.processes=4"))
    )
    assert of(list(alone.items), "rollouts: KV cache") == 4 * of(list(spread.items), "rollouts: KV cache")
    assert (spread.written, spread.read, spread.learned) == (alone.written, alone.read, alone.learned)
    assert spread.least["learning"].value == pytest.approx(alone.least["learning"].value / 4)
    assert spread.hours < alone.hours


def test_more_processes_than_gpus_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"plan for 16xH100, or set launch\.processes=8"):
        predict(tmp_path, "8xH100", "workers=1", "launch.processes=16")
    with pytest.raises(RecipeError, match="or leave launch out"):
        predict(tmp_path, "1xH100", "workers=1", "launch.processes=2")


@pytest.mark.parametrize(
    ("content", "sharing"),
    [
        ("distributed_type: MULTI_GPU", Sharing.DDP),
        ("distributed_type: FSDP", Sharing.FSDP2),
        ("{distributed_type: DEEPSPEED, deepspeed_config: {zero_stage: 3}}", Sharing.ZERO3),
        ("{distributed_type: DEEPSPEED, deepspeed_config: {zero_stage: 2}}", Sharing.DDP),
    ],
)
def test_a_file_of_ones_own_says_what_each_process_has(tmp_path: Path, content: str, sharing: Sharing) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    assert Launch(processes=2, config=str(file)).sharing is sharing
    prediction = predict(tmp_path, "2xH100", "workers=1", "launch.processes=2", f"launch.config={file}")
    assert any(f"is planned as {sharing};" in note for note in prediction.notes)


def test_a_batch_that_is_too_big_is_mended_by_a_smaller_one(tmp_path: Path, seven: str) -> None:
    prediction = predict(tmp_path, "1xA100-80", seven, TWO_ARMS, "sft.method=lora", "sft.batch=32")
    assert "set sft.micro_batch to " in next(line for line in prediction.misfits if line.startswith("sft sinternal"))


def test_a_context_that_leaves_no_room_is_mended_by_a_shorter_one_or_more_gpus(tmp_path: Path, seven: str) -> None:
    engine = "evaluation.engine={name: vllm, options: {max_model_len: 131072}}"
    prediction = predict(tmp_path, "4xA10", seven, TWO_ARMS, engine)
    sentence = next(line for line in prediction.misfits if line.startswith("respond base"))
    assert "max_model_len to " in sentence
    assert "tensor_parallel to 2" in sentence or "tensor_parallel to 4" in sentence
    wide = predict(tmp_path, "1xA10", seven, TWO_ARMS, engine.replace("max_model_len: 131072", "tensor_parallel: 4"))
    assert any("it uses 4 GPUs" in line for line in wide.misfits)


def test_a_guard_on_this_machine_is_counted(tmp_path: Path, seven: str) -> None:
    folder = seven.removeprefix("target.model=")
    guard = f"judges=[{{name: qwen3guard, options: {{engine: {{name: transformers, model: '{folder}'}}}}}}]"
    prediction = predict(tmp_path, "1xH200", TWO_ARMS, guard)
    judged = works_of(prediction, "judge")
    assert {work.model for work in judged} == {folder}
    assert all(work.written and of(list(work.items), "weights") > 15e9 for work in judged)


def test_longer_texts_take_longer(tmp_path: Path) -> None:
    short, long = (
        predict(tmp_path, "1xH100", "sampling.max_tokens=200", lengths=Lengths(text=text)) for text in (50, 100)
    )
    assert works_of(long, "sample")[0].written == 2 * works_of(short, "sample")[0].written
    assert long.least_hours > short.least_hours


def test_training_all_weights_takes_half_as_long_again_as_training_adapters(tmp_path: Path, seven: str) -> None:
    full, lora = (
        works_of(predict(tmp_path, "cpu", seven, TWO_ARMS, f"sft.method={method}"), "sft")[0].least_hours
        for method in ("full", "lora")
    )
    assert full == pytest.approx(1.5 * lora)  # 6 and 4 operations a weight and token, nothing recomputed


def test_reinforcement_writes_learns_and_keeps_both_in_memory(tmp_path: Path) -> None:
    prediction = predict(tmp_path, "1xL40S", recipe="microworld-rl")
    work = works_of(prediction, "grpo")[0]
    assert {"reading", "writing", "learning"} == set(work.least)
    assert {"optimiser", "rollouts: KV cache"} <= {item.name for item in work.items}


def test_servers_have_two_prices(tmp_path: Path) -> None:
    expert = "expert={name: chat, options: {engine: {name: openai, model: x, options: {base_url: 'http://x/v1'}}}}"
    priced = expert.replace("'http://x/v1'", "'http://x/v1', price: {read: 3, written: 15}")
    prediction = predict(tmp_path, "cpu", TWO_ARMS, priced)
    (asked,) = [asked for asked in prediction.asked if asked.task.stage.name == "critique"]
    assert asked.cost == pytest.approx((3 * asked.read + 15 * asked.written) / 1e6)
    assert prediction.batch_cost == prediction.cost / 2
    assert not predict(tmp_path, "cpu", TWO_ARMS, expert).cost


def test_a_model_that_is_nowhere_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--model-config somebody/unknown="):
        predict(tmp_path, "1xH100", "target.model=somebody/unknown")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(published_configs()[SEVEN]))
    known = predict(tmp_path, "1xH100", "target.model=somebody/unknown", configs={"somebody/unknown": config})
    assert of(list(works_of(known, "sample")[0].items), "weights") > 15e9


# the command


def test_the_command_prints_tables_totals_and_explanations(tmp_path: Path) -> None:
    plain = in_process("plan", "quickstart", "--hardware", "1xL4", "--set", TWO_ARMS, cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert "memory of each GPU of 1xL4, GB" in plain.stdout
    assert "in all at least " in plain.stdout
    assert "arXiv" not in plain.stdout
    told = in_process("plan", "quickstart", "--hardware", "1xL4", "--explain", "--set", TWO_ARMS, cwd=tmp_path)
    assert "optimiser: " in told.stdout
    assert "= 8 * trained with trained " in told.stdout
    assert "NVIDIA L4 data sheet" in told.stdout


def test_the_command_prints_json(tmp_path: Path) -> None:
    done = in_process("plan", "quickstart", "--hardware", "1xL4", "--json", "--set", TWO_ARMS, cwd=tmp_path)
    content = json.loads(done.stdout)
    work = next(work for work in content["forecast"]["work"] if work["stage"] == "sft")
    assert work["fits"]
    assert work["needed_bytes"] <= sum(work["memory"].values())
    assert content["forecast"]["totals"]["hours"] > content["forecast"]["totals"]["least_hours"] > 0
    assert json.loads(in_process("plan", "quickstart", "--json", cwd=tmp_path).stdout)["forecast"] is None


def test_mistakes_of_the_command_are_one_line(tmp_path: Path) -> None:
    unknown = in_process("plan", "quickstart", "--hardware", "8xH10", cwd=tmp_path)
    assert unknown.returncode == 2
    assert len(unknown.stderr.splitlines()) == 1
    missing = in_process("plan", "quickstart", "--hardware", "cpu", "--model-config", "no.json", cwd=tmp_path)
    assert "there is no file no.json" in missing.stderr
