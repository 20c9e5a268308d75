"""The hooks into Triton's interpreter: one that moved, or does nothing any more, is named."""

import pytest
import torch

from cs231n_gen.kernels.launch import HAVE_TRITON, tl, triton

if not HAVE_TRITON:
    pytest.skip("Triton is not installed", allow_module_level=True)

from triton.runtime import interpreter

from cs231n_gen.instruments.access.audit import Audit
from cs231n_gen.triton_compat import hooks


def test_every_hook_has_its_effect():
    hooks.self_test()


@pytest.mark.parametrize("name", ["_interpreter", "_implicit_cvt", "GridExecutor"])
def test_a_hook_that_moved_is_named(monkeypatch, name):
    monkeypatch.delattr(interpreter, name)
    with pytest.raises(RuntimeError, match=f"Triton {triton.__version__}: interpreter.{name}"):
        hooks.self_test()


def launch_without_hook(monkeypatch):
    plain = interpreter.GridExecutor.__call__

    def run(self, *args, grid, warmup, **kwargs):
        return plain(interpreter.GridExecutor(self.rewrite(), self.arg_names, grid), *args)

    monkeypatch.setattr(interpreter.InterpretedFunction, "run", run)


def store_without_hook(monkeypatch):
    plain = interpreter._interpreter

    def store(self, pointers, value, mask, *rest):
        return plain.store(pointers.data, value.data, mask.data)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_masked_store", store)


def add_without_hook(monkeypatch):
    plain = interpreter._interpreter

    def add(self, operation, pointers, value, mask, order, scope):
        kind, order = (self.ir_rmw_op_to_interpreter_rmw_op, self.ir_sem_to_interpreter_sem)
        how = kind[operation], pointers.data, value.data, mask.data
        out = plain.atomic_rmw(*how, next(iter(order.values())))
        return interpreter.TensorHandle(out, value.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_atomic_rmw", add)


@pytest.mark.parametrize(
    "without, name",
    [
        (launch_without_hook, "interpreter.GridExecutor.__call__"),
        (store_without_hook, "interpreter._interpreter.store"),
        (add_without_hook, "interpreter._interpreter.atomic_rmw"),
    ],
)
def test_a_hook_without_effect_is_named(monkeypatch, without, name):
    without(monkeypatch)
    with pytest.raises(RuntimeError, match=f"{name} no longer has an effect"):
        hooks.self_test()


def test_a_binding_that_is_called_otherwise_is_named(monkeypatch):
    def load(self, pointers, *_):
        return interpreter._interpreter.load(pointers.data)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_masked_load", load)
    with pytest.raises(RuntimeError, match="_interpreter is used in an unexpected way"):
        hooks.self_test()


def test_everything_is_put_back_after_a_failure(monkeypatch):
    before = interpreter._interpreter, interpreter._implicit_cvt, interpreter.GridExecutor.__call__
    with monkeypatch.context() as patch:
        store_without_hook(patch)
        with pytest.raises(RuntimeError):
            hooks.self_test()
    after = interpreter._interpreter, interpreter._implicit_cvt, interpreter.GridExecutor.__call__
    assert before == after


@triton.jit
def twice(pair, out, n, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(out + i, tl.load(pair[0] + i) + tl.load(pair[1] + i), mask=i < n)


def test_tensors_of_a_tuple_have_a_name_each():
    a, b, out = torch.ones(8), torch.ones(8), torch.zeros(8)
    found = list(hooks.tensors({"pair": (a, b), "out": out, "n": 8}))
    assert [name for name, _ in found] == ["pair[0]", "pair[1]", "out"]
    assert all(t is given for (_, t), given in zip(found, (a, b, out), strict=True))


def test_an_audit_in_an_audit_is_refused():
    with Audit():
        with pytest.raises(RuntimeError, match="another audit is already watching"):
            Audit().__enter__()
        twice[(1,)]((torch.ones(8), torch.ones(8)), torch.zeros(8), 8, B=8)
    with Audit() as audit:
        twice[(1,)]((torch.ones(8), torch.ones(8)), torch.zeros(8), 8, B=8)
    assert not audit.findings
