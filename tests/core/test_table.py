"""The table of losses, the functions, the modules and the engines say the same thing."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
import torch

import segcrit
from segcrit import engines
from segcrit.core.errors import BackendError, ParameterError
from tests.laws.problems import mask_of, positive_weights, problem

ROWS = [row for row in segcrit.list_losses() if row.module is not None]
NAMES = [row.name for row in ROWS]


def task_of(row) -> str:
    return "multiclass" if "multiclass" in row.tasks else "binary"


def test_the_contract_is_in_the_table():
    assert {"ce", "bce", "focal", "dice", "jaccard", "tversky", "lovasz", "lovasz_hinge", "partial_ce"} <= set(NAMES)
    functions = {
        "cross_entropy",
        "binary_cross_entropy",
        "focal",
        "dice",
        "jaccard",
        "tversky",
        "lovasz_softmax",
        "lovasz_hinge",
        "partial_cross_entropy",
    }
    assert functions <= {row.function for row in ROWS}
    assert functions <= set(segcrit.functional.__all__)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_row_is_complete(row):
    assert row.family in ("pixel", "region", "ranking")
    for text in (row.title, row.formula, row.reference, row.use_when, row.avoid_when):
        assert text.strip()
    assert row.tasks
    for name, parameter in row.parameters.items():
        assert parameter.name == name
        assert parameter.meaning


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_defaults_are_those_of_the_table_everywhere(row):
    function = getattr(segcrit.functional, row.function)
    module = getattr(segcrit, row.module)
    signature = inspect.signature(function).parameters
    shell = inspect.signature(module).parameters
    for name, parameter in row.parameters.items():
        assert signature[name].default == parameter.default, name
        assert signature[name].kind is inspect.Parameter.KEYWORD_ONLY
    for name, parameter in shell.items():
        assert signature[name].default == parameter.default, name
    # Tensors of the call; the maps of losses that read some beside the target.
    assert set(signature) - set(shell) - {"maps"} == {"logits", "target", "pixel_weight"}
    assert signature["reduction"].default == "mean"
    assert signature["task"].default in row.tasks


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_function_module_and_expression_agree(row):
    task = task_of(row)
    p = problem(task, seed=110)
    p = p.ignoring(mask_of(p, 6))
    weight = positive_weights(p)
    function, module = getattr(segcrit.functional, row.function), getattr(segcrit, row.module)()
    results = []
    for call in (
        lambda z: segcrit.Criterion(row.name, task=task)(z, p.target, weight),
        lambda z: function(z, p.target, pixel_weight=weight),
        lambda z: module(z, p.target, weight),
    ):
        z = p.logits.clone().requires_grad_()
        loss = call(z)
        results.append((loss.detach(), torch.autograd.grad(loss, z)[0]))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=0)
    for alias in row.aliases:
        torch.testing.assert_close(
            segcrit.Criterion(alias, task=task)(p.logits, p.target, weight), results[0][0], rtol=0, atol=0
        )


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_illegal_values_are_refused_by_function_and_module(row):
    task = task_of(row)
    p = problem(task, seed=111)
    function, module = getattr(segcrit.functional, row.function), getattr(segcrit, row.module)
    for name, parameter in row.parameters.items():
        if parameter.constraint is None:
            continue
        for value in parameter.constraint.invalid():
            if name == "reduction" and value == "none":
                continue
            with pytest.raises(ParameterError, match=name):
                function(p.logits, p.target, **{name: value})
            with pytest.raises(ParameterError, match=name):
                module(**{name: value})(p.logits, p.target)


def test_modules_copy_pickle_print_and_keep_weights_out_of_checkpoints():
    p = problem(seed=112)
    module = segcrit.DiceLoss(smooth=1, class_weight=[1.0, 2.0, 3.0, 4.0], per_image=True)
    wanted = module(p.logits, p.target)
    assert module.state_dict() == {}
    assert [b.shape for b in module.buffers()] == [(4,)]
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), module.to(torch.float64)):
        torch.testing.assert_close(again(p.logits, p.target), wanted)
        assert repr(again) == repr(module)
    assert "smooth=1" in repr(module)
    assert "per_image=True" in repr(module)
    assert "squared" not in repr(module)


def test_modules_unreduced():
    p = problem(seed=113)
    assert segcrit.CrossEntropyLoss(reduction="none")(p.logits, p.target).shape == (2, 5, 6)
    assert segcrit.JaccardLoss(reduction="none", per_image=True)(p.logits, p.target).shape == (2, 4)
    assert segcrit.LovaszSoftmaxLoss(reduction="none", classes=[0, 3])(p.logits, p.target).shape == (2,)


def test_unreduced_values_carry_gradients():
    p = problem(seed=114)
    p = p.ignoring(mask_of(p, 5))
    upstream = positive_weights(p)
    z = p.logits.clone().requires_grad_()
    values = segcrit.functional.focal(z, p.target, reduction="none")
    (gradient,) = torch.autograd.grad((values * upstream).sum(), z)
    z = p.logits.clone().requires_grad_()
    weighted = segcrit.functional.focal(z, p.target, pixel_weight=upstream, reduction="sum")
    torch.testing.assert_close(gradient, torch.autograd.grad(weighted, z)[0])
    z = p.logits.clone().requires_grad_()
    per_class = segcrit.functional.dice(z, p.target, reduction="none")
    (gradient,) = torch.autograd.grad(per_class[2], z)
    z = p.logits.clone().requires_grad_()
    only = segcrit.functional.dice(z, p.target, classes=[2])
    torch.testing.assert_close(gradient, torch.autograd.grad(only, z)[0])


def test_a_skipped_class_is_nan_unreduced_and_its_gradient_is_none_of_the_others():
    p = problem(seed=115)
    target = torch.where(p.target == 1, 0, p.target)
    z = p.logits.clone().requires_grad_()
    values = segcrit.functional.dice(z, target, reduction="none")
    assert torch.isnan(values).tolist() == [False, True, False, False]
    (gradient,) = torch.autograd.grad(values[[0, 2, 3]].mean(), z)
    z = p.logits.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(segcrit.functional.dice(z, target), z)
    torch.testing.assert_close(gradient, wanted)


def test_backends_say_what_can_run_and_why():
    backends = {backend.name: backend for backend in segcrit.backends()}
    assert backends["reference"].available
    assert all(backend.reason for backend in backends.values())
    p = problem(seed=116)
    wanted = segcrit.Criterion("ce + dice")(p.logits, p.target)
    for name, backend in backends.items():
        if backend.available and "any" in backend.devices:
            with segcrit.use_backend(name):
                torch.testing.assert_close(segcrit.Criterion("ce + dice")(p.logits, p.target), wanted)
        if not backend.available:
            with pytest.raises(BackendError, match=r"expected .*, got .*, which cannot: "):
                segcrit.use_backend(name)
    with pytest.raises(ParameterError, match="Did you mean 'reference'"):
        segcrit.use_backend("refernce")
    with pytest.raises(ParameterError, match="called 'triton'"):
        segcrit.use_backend("gpu")


def test_use_backend_alone_holds_from_there_on():
    cpu = torch.device("cpu")
    with segcrit.use_backend("auto"):  # whatever the tests begin with
        fastest = engines.pick("auto", cpu)
        segcrit.use_backend("reference")
        assert engines.pick("auto", cpu) is engines.reference
        with pytest.raises(ParameterError):
            segcrit.use_backend("refernce")
        assert engines.pick("auto", cpu) is engines.reference
        segcrit.use_backend("auto")
        assert engines.pick("auto", cpu) is fastest
        assert engines.pick("reference", cpu) is engines.reference


def test_use_backend_of_an_object_that_serves_several_blocks():
    cpu = torch.device("cpu")
    with segcrit.use_backend("auto"):
        fastest = engines.pick("auto", cpu)
        forced = segcrit.use_backend("reference")
        for _ in range(2):
            with forced:
                assert engines.pick("auto", cpu) is engines.reference
            assert engines.pick("auto", cpu) is fastest
        with segcrit.use_backend("auto"), forced:
            assert engines.pick("auto", cpu) is engines.reference


def test_use_backend_ends_with_its_block_even_after_an_error():
    p = problem(seed=117)
    with pytest.raises(RuntimeError, match="inside"), segcrit.use_backend("reference"):
        raise RuntimeError("inside")
    segcrit.Criterion("ce")(p.logits, p.target)
    with segcrit.use_backend("reference"), segcrit.use_backend("auto"):
        segcrit.Criterion("ce")(p.logits, p.target)


def test_the_package_is_light_to_import():
    import subprocess
    import sys

    code = (
        "import sys, segcrit; heavy = {'matplotlib', 'lightning', 'monai', 'jinja2', 'PIL', 'scipy', 'rich', 'pandas', "
        "'nibabel', 'tifffile', 'tensorboard', 'kornia', 'torchmetrics'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
