"""The OpenVINO executor: every family that converts, dropped columns, broken files, what is refused."""

import gc
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from seeahead import proof
from seeahead.decode import run
from seeahead.drafters import bind
from seeahead.drafters.lookup import LookupDrafter
from seeahead.errors import ModelError
from seeahead.executor import ModelInputs, PromptInputs, TreeInputs, Want
from seeahead.executors import compiled, converted, openvino
from seeahead.executors.language import StateShape
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.executors.pages import PagedSlot, Pages
from seeahead.executors.row_steps import STEPS, RowSteps
from seeahead.families import choice, family_for, loading
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter, answer, assert_same_answer, tiny_inputs, tiny_model
from seeahead.testing.models import TEXT_FAMILIES, VISION_FAMILIES
from seeahead.tree import ROOT
from tests.executors.agreement import assert_family_agrees
from tests.executors.test_transformers import assert_packed_is_alone
from tests.lossless.cases import CONVERTED, NUM_TOKENS, plain, plain_type, prompt, target
from tests.scripts import sometimes_right

# Experts are chosen by counting, which the converter cannot follow; llama4 reads places off the cache; gemma2 caps the
# scores of attention.
REFUSED = ("qwen3_vl_moe", "qwen3_moe", "gpt_oss", "llama4_text", "gemma2")
OTHERS = [one for one in (*VISION_FAMILIES, *TEXT_FAMILIES) if one not in (*map(plain_type, CONVERTED), *REFUSED)]


pytestmark = pytest.mark.usefixtures("openvino_in_32_bits")


def on_openvino(model_type, precision="float32", **changes):
    family = family_for(tiny_model(model_type, **changes))
    family.executor = OpenVinoExecutor(family, precision)
    return family


@pytest.mark.parametrize("model_type", OTHERS)
def test_a_family_says_what_transformers_says(model_type):
    assert_family_agrees(on_openvino(model_type), model_type)


def test_what_drafters_read_is_in_the_type_that_the_executor_names(monkeypatch):
    """Layers of drafters are loaded in that type, and packed ones take no other."""
    monkeypatch.setattr(openvino, "arithmetic", lambda precision: torch.bfloat16)
    family = on_openvino("llava", "bfloat16")
    dtype, inputs, want = family.executor.limits.dtype, tiny_inputs("llava"), Want((0, 1, -1), embeddings=True)
    session = Session(family.executor, inputs.length)
    read, tree = session.prefill(inputs, want), session.score([5], [ROOT], want)
    held = [*read.features.values(), *tree.features.values(), read.embeddings, family.executor.embed(torch.tensor([5]))]
    assert dtype == torch.bfloat16
    assert {one.dtype for one in held} == {dtype}


def test_one_thread_does_not_end_the_process(tmp_path):
    """OpenVINO divides by zero there where it computes in 16 bits."""
    program = (
        "from tests.executors.test_openvino import on_openvino; from seeahead.testing import tiny_inputs; "
        "from seeahead.session import Session; family = on_openvino('llava', 'bfloat16'); "
        "print(Session(family.executor, 20).prefill(tiny_inputs('llava')).logits.shape)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (told.returncode, "torch.Size" in told.stdout) == (0, True), told.stderr


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_does_not_convert_is_refused_in_one_line(model_type):
    with pytest.raises(ModelError, match="executor transformers") as caught:
        on_openvino(model_type)
    assert "\n" not in str(caught.value)


def opened(family, num_images):
    session = Session(family.executor, 4)
    session.prefill(prompt("llava", num_images))
    return session


def steps_of(sessions, expected, start):
    """A pass of all sessions over one token each; what follows is what plain decoding says."""
    trees = [session.tree([tokens[start]], [ROOT]) for session, tokens in zip(sessions, expected, strict=True)]
    for session, tokens, scores in zip(
        sessions, expected, sessions[0].executor.forward(trees, openvino.Want()), strict=True
    ):
        assert scores.logits[0].argmax() == tokens[start + 1]
        session.commit([0])


def held(family):
    gc.collect()
    return family.executor._pages.num_held - len(family.executor._spare)


def test_slots_share_passes_in_any_order_and_give_back_what_they_held():
    family, expected = on_openvino("llava"), [plain("llava", number).token_ids for number in (0, 1, 2)]
    sessions = [opened(family, number) for number in (0, 1, 2)]
    steps_of(sessions, expected, 0)
    steps_of(sessions[::-1], expected[::-1], 1)
    sessions[1].close()
    steps_of(sessions[::2], expected[::2], 2)
    late = opened(family, 1)
    steps_of([late, sessions[0]], [expected[1], expected[0][3:]], 0)
    sessions[0].close()
    assert held(family) > 0
    del sessions, late  # nobody closed them
    assert held(family) == 0


def test_a_second_question_is_read_after_what_others_left():
    family, expected = target("llava openvino"), [plain("llava", number).token_ids for number in (0, 1)]
    sessions = [opened(family, number) for number in (0, 1)]
    steps_of(sessions, expected, 0)
    wrong = [(token + 1) % 100 + 3 for token in expected[0][1:9]]
    family.executor.forward([sessions[0].tree([expected[0][1], *wrong], [ROOT] + [0] * 8)], openvino.Want())
    sessions[0].commit([0])
    more = ModelInputs(torch.tensor([expected[0][2:8]]))
    [scores] = family.executor.prefill([PromptInputs(sessions[0].slot, more)], openvino.Want())
    assert scores.logits[-1].argmax() == expected[0][8]
    steps_of(sessions[1:], expected[1:], 1)


@pytest.mark.parametrize("model_type", ["llava", "gemma3"])
@pytest.mark.parametrize("most", [1, 3, 40])
def test_a_tree_may_be_read_in_any_number_of_passes(model_type, most):
    """What is pending from passes before is seen by those alone that descend from it, in windows too."""
    inputs, parents = prompt(model_type, 1), [ROOT, ROOT, 0, 1, 1, 2, 5, 3, 6]
    tokens = [5 + 3 * node for node in range(len(parents))]
    told = []
    for family, size in ((target(model_type), len(parents)), (target(f"{model_type} openvino"), most)):
        session = Session(family.executor, 4)
        session.prefill(inputs)
        cuts = range(0, len(parents), size)
        told.append(torch.cat([session.score(tokens[at : at + size], parents[at : at + size]).logits for at in cuts]))
        session.commit([1, 3, 7])
        told.append(session.score([9, 8], [ROOT, 0]).logits)
    torch.testing.assert_close(told[0], told[2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(told[1], told[3], atol=1e-4, rtol=1e-4)


def test_pages_grow_and_slots_keep_what_they_hold():
    pages = Pages([StateShape(2, 4), StateShape(2, 4), StateShape(1, 4)], 4, "float32")
    slots = [PagedSlot(pages) for _ in range(3)]
    for number, slot in enumerate(slots):
        pages.hold(slot.blocks, 9)
        for view in pages.views():
            view[slot.blocks] = number + 1
    pages.hold(slots[0].blocks, 200)
    assert pages.version > 1
    for number, slot in enumerate(slots):
        assert all((view[slot.blocks[:3]] == number + 1).all() for view in pages.views())
    assert len({block for slot in slots for block in slot.blocks}) == pages.num_held == 50 + 3 + 3


def test_a_long_prompt_is_read_in_parts(monkeypatch):
    family, inputs = target("qwen3_vl openvino"), prompt("qwen3_vl", 2, 60)
    whole = Session(family.executor, 4).prefill(inputs, openvino.Want((-1, 1), embeddings=True))
    monkeypatch.setattr(OpenVinoExecutor, "most_read", 16)
    parts = Session(family.executor, 4).prefill(inputs, openvino.Want((-1, 1), embeddings=True))
    torch.testing.assert_close(parts.logits, whole.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(parts.features[1], whole.features[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(parts.embeddings, whole.embeddings)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_language_model_that_drafts_for_it_runs_there_too(precision, monkeypatch, tmp_path):
    monkeypatch.setattr(choice, "_LEAST", 0)
    tiny_model("llama").save_pretrained(tmp_path)
    monkeypatch.setattr(loading, "load_model", lambda source, dtype, device: (tiny_model("llama"), None))
    family = on_openvino("llava", precision)
    tree, drawn = (bind(f"{tmp_path}:{setting}", Target.of(family)) for setting in ("min_probability=0", "draws=1"))
    assert isinstance(tree.language.executor, OpenVinoExecutor)
    assert tree.language.executor.precision == precision
    truths = [answer(family, tiny_inputs("llava", number), max_new_tokens=NUM_TOKENS) for number in (0, 1, 2)]
    requests = []
    for number, truth in enumerate(truths):
        inputs = tiny_inputs("llava", number)
        for _ in range(2):  # slots are used again
            drafted = answer(family, inputs, tree, max_new_tokens=NUM_TOKENS)
            assert_same_answer(drafted, truth)
            assert any(step.num_drafted for step in drafted.steps)
        sampler, rule = Sampler(SamplingParams(), inputs.token_ids[0].tolist()), StopRule(NUM_TOKENS)
        requests.append(Request(family.executor, tree, sampler, rule, family.image_token_ids).ask(inputs))
    assert held(tree.language) == 0, "an answer's slots are closed"
    for _ in run(iter(requests), 3):
        pass
    assert [tuple(request.answer) for request in requests] == [truth.token_ids for truth in truths]
    params = SamplingParams(temperature=1.0, seed=3)
    sampled = answer(family, inputs, drawn, max_new_tokens=NUM_TOKENS, params=params)
    assert any(step.num_drafted for step in sampled.steps)


def test_a_drafter_on_openvino_that_is_its_target_is_always_right(monkeypatch, tmp_path):
    """Only where its slots keep what was accepted, and nothing else, over all steps of several requests."""
    monkeypatch.setattr(choice, "_LEAST", 0)
    tiny_model("llama").save_pretrained(tmp_path)
    monkeypatch.setattr(loading, "load_model", lambda source, dtype, device: (tiny_model("llama"), None))
    family, requests = on_openvino("llama"), []
    drafter = bind(f"{tmp_path}:chain=3", Target.of(family))
    for seed in (1, 2, 3):
        inputs = ModelInputs(torch.randint(3, 60, (1, 5 + seed), generator=torch.Generator().manual_seed(seed)))
        sampler, rule = Sampler(SamplingParams(), inputs.token_ids[0].tolist()), StopRule(NUM_TOKENS)
        requests.append(Request(family.executor, drafter, sampler, rule, family.image_token_ids).ask(inputs))
    steps = [step for _, step in run(iter(requests), 3) if step is not None]
    assert all(step.num_accepted == step.num_drafted for step in steps)
    assert sum(step.num_drafted for step in steps) >= NUM_TOKENS


@pytest.mark.parametrize(
    ("precision", "loaded", "long_rows"),
    [
        ("bfloat16", "float32", 0),
        ("bfloat16", "bfloat16", 64),
        ("bfloat16", "bfloat16", 16),
        ("int8", "float32", 0),
        ("int4", "float32", 0),
    ],
)
def test_rounded_weights_are_a_target_of_their_own_drafted_exactly(precision, loaded, long_rows, monkeypatch):
    known = RowSteps(8, long_rows)
    monkeypatch.setattr(openvino, "row_steps", lambda *given, **settings: known)
    family = family_for(tiny_model("qwen2_5_vl").to(getattr(torch, loaded)))
    family.executor = OpenVinoExecutor(family, precision)
    for num_images in (0, 1):
        inputs = tiny_inputs("qwen2_5_vl", num_images)
        truth = answer(family, inputs, max_new_tokens=NUM_TOKENS)
        script = sometimes_right(truth.token_ids)
        assert_same_answer(answer(family, inputs, LookupDrafter(), max_new_tokens=NUM_TOKENS), truth)
        drafted = answer(family, inputs, ScriptedDrafter("sometimes right", script), max_new_tokens=NUM_TOKENS)
        assert_same_answer(drafted, truth)
    assert proof.require(proof.prove(family, proof.prompts_for(family)))


@pytest.mark.parametrize(("model_type", "step"), [("llava", 4), ("llava", 8), ("gemma3", 8), ("qwen2_vl", 16)])
def test_graphs_for_one_number_of_tokens_say_what_the_general_one_says(model_type, step, monkeypatch):
    asked = []

    def measured(folder, measure, *, has_choice, progress):
        assert not has_choice, "32 bits have no others beside them"
        asked.extend(measure(step, False) for step in STEPS)
        return RowSteps(step, long_rows=0)

    monkeypatch.setattr(openvino, "row_steps", measured)
    fixed = on_openvino(model_type)
    assert fixed.executor.limits.fixed_rows == (1, step, 2 * step, 4 * step)
    assert all(0 < seconds < 60 for seconds in asked)
    monkeypatch.setattr(compiled, "_MOST_BYTES", 0)
    general = on_openvino(model_type)
    assert general.executor.limits.fixed_rows == ()
    inputs, told = tiny_inputs(model_type), []
    for family in (fixed, general):
        session = Session(family.executor, inputs.length)
        told.append([session.prefill(inputs).logits])
        for rows in (1, 3, 8, 9, 20, 33, 1):
            told[-1].append(session.score([5] * rows, range(ROOT, rows - 1)).logits)
            session.commit([0])
        further = PromptInputs(session.slot, ModelInputs(torch.tensor([[5, 6, 7]])))
        told[-1] += [scores.logits for scores in family.executor.prefill([further], Want())]
    for ours, expected in zip(*told, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert set(fixed.executor._graphs._compiled) == {0, 1, step, 2 * step, 4 * step}


@pytest.mark.parametrize("model_type", ["llava", "gemma3", "qwen2_vl"])
def test_prompts_of_several_requests_are_read_in_one_pass(model_type, monkeypatch):
    executor = on_openvino(model_type).executor
    words = ModelInputs(torch.tensor([[5, 6, 7, 8, 9]]))
    asked, want = [tiny_inputs(model_type), words, tiny_inputs(model_type, 1)], Want((0, 1, -1), embeddings=True)
    sessions = [Session(executor, inputs.length) for inputs in asked]
    alone = [session.prefill(inputs, want) for session, inputs in zip(sessions, asked, strict=True)]
    num_passes, run = [], compiled.Graph.infer
    monkeypatch.setattr(compiled.Graph, "infer", lambda *given: num_passes.append(1) or run(*given))
    slots = [executor.open(0) for _ in asked]
    beside = executor.prefill([PromptInputs(slot, inputs) for slot, inputs in zip(slots, asked, strict=True)], want)
    assert len(num_passes) == 1
    assert [slot.length for slot in slots] == [inputs.length for inputs in asked]
    for ours, expected in zip(beside, alone, strict=True):
        torch.testing.assert_close(ours.logits, expected.logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.embeddings, expected.embeddings)
        for layer in want.layers:
            torch.testing.assert_close(ours.features[layer], expected.features[layer], rtol=1e-4, atol=1e-4)
    trees = [TreeInputs(slot, [11, 12], [ROOT, ROOT]) for slot in slots]
    for ours, session in zip(executor.forward(trees, Want()), sessions, strict=True):
        expected = session.score([11, 12], [ROOT, ROOT]).logits
        torch.testing.assert_close(ours.logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model_type", ["llava", "gemma3"])
def test_hidden_states_of_trees_side_by_side_are_those_of_each_alone(model_type):
    prompts = [prompt(model_type, images, words) for images, words in ((2, 8), (0, 3), (1, 11), (0, 20))]
    assert_packed_is_alone(target(f"{model_type} openvino").executor, prompts, Want((0, 1, -1)))


def test_steps_of_many_requests_go_through_the_graph_for_long_passes(monkeypatch):
    """Ten trees have more rows than a block, and each answer is the one that the model alone gives."""
    monkeypatch.setattr(openvino, "row_steps", lambda *given, **settings: RowSteps(8, long_rows=64))
    family, requests, sizes = on_openvino("llava"), [], []
    asked = [prompt("llava", number % 3, 8 + number) for number in range(10)]
    truths = [answer(target("llava"), inputs, max_new_tokens=NUM_TOKENS).token_ids for inputs in asked]
    for inputs, truth in zip(asked, truths, strict=True):
        sampler, rule = Sampler(SamplingParams(), inputs.token_ids[0].tolist()), StopRule(NUM_TOKENS)
        drafter = ScriptedDrafter("sometimes right", sometimes_right(truth))
        requests.append(Request(family.executor, drafter, sampler, rule, family.image_token_ids).ask(inputs))
    infer = compiled.Graph.infer

    def noted(graph, inputs, pages):
        if graph is family.executor._graphs._compiled.get(compiled._LONG):
            sizes.append((len(inputs["embeddings"]), len(inputs["rows"])))
        return infer(graph, inputs, pages)

    monkeypatch.setattr(compiled.Graph, "infer", noted)
    for _ in run(iter(requests), 10):
        pass
    assert [tuple(request.answer) for request in requests] == truths
    told_all = [size for size, told in sizes if size == told]  # which prompts' passes do not
    assert len(told_all) > 2
    assert min(told_all) > compiled.BLOCK


def test_a_broken_file_is_made_anew_and_one_that_does_not_run_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    family = family_for(tiny_model("llama"))
    executor = OpenVinoExecutor(family)
    folder = executor._graphs.path.parent
    (folder / "graph.bin").write_bytes(b"short")
    assert OpenVinoExecutor(family)._graphs.path == executor._graphs.path
    assert (folder / "graph.bin").stat().st_size > 5
    for name in ("graph.xml", "graph.bin"):  # of the size that it had
        whole = (folder / name).read_bytes()
        middle = len(whole) // 2
        (folder / name).write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
        assert not converted._is_whole(folder)
        OpenVinoExecutor(family)
        assert converted._is_whole(folder)
    (folder / "graph.xml").write_bytes(b"x" * 100)
    (folder / "digests.json").write_text(json.dumps(converted._digests(folder)))
    with pytest.raises(ModelError, match="delete the folder"):
        OpenVinoExecutor(family)
    assert [one.name for one in (tmp_path / "openvino").iterdir()] == [folder.name], "nothing half-made is left"


def test_whoever_converts_a_model_a_second_time_leaves_the_first_one_in_its_place(monkeypatch, tmp_path):
    """Two processes that load a model for the first time at once: one reads what the other would throw away."""
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    family = family_for(tiny_model("llama"))
    path = OpenVinoExecutor(family)._graphs.path
    (path.parent / "of the first").write_text("")
    looks = iter([False])
    is_whole = converted._is_whole
    monkeypatch.setattr(converted, "_is_whole", lambda folder: next(looks, True) and is_whole(folder))
    assert OpenVinoExecutor(family)._graphs.path == path
    assert (path.parent / "of the first").exists()
    assert [one.name for one in path.parent.parent.iterdir()] == [path.parent.name]


def test_other_weights_are_another_graph(monkeypatch, tmp_path):
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    paths = {OpenVinoExecutor(family_for(tiny_model("llama", seed)))._graphs.path for seed in (0, 1)}
    assert len(paths) == 2


def test_no_room_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ModelError, match="make room there"):
        OpenVinoExecutor(family_for(tiny_model("llama")))


def test_a_model_in_16_bits_is_refused():
    with pytest.raises(ModelError, match="converts models in float32"):
        OpenVinoExecutor(family_for(tiny_model("llama").bfloat16()))
