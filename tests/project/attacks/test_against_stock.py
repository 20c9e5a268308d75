"""The comparison with stock nbgrader works: its controls, and two attacks that succeed there."""

import against_stock
import pytest


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return against_stock.Course(tmp_path_factory.mktemp("stock"))


@pytest.mark.full
def test_stock_nbgrader_tells_right_from_wrong(stock):
    right, wrong = (stock.try_out(n, against_stock.CONTROLS[n]) for n in ("right", "wrong"))
    assert (right.double, right.triple, right.victim) == (2, 2, 4)
    assert (wrong.double, wrong.triple, wrong.victim) == (0, 2, 4)


@pytest.mark.drawn("stock", 1)
@pytest.mark.parametrize("name", ["builtins", "gradebook"])
def test_an_attack_on_stock_nbgrader_is_told(name, stock):
    attack = against_stock.STOCK[name]
    assert attack.succeeded(stock.try_out(name, attack))


def test_every_attack_has_one_like_it_here():
    names = {a.name for a in against_stock.arena.attacks()}
    assert len(against_stock.STOCK) >= 15
    assert {s.ours for s in against_stock.STOCK.values()} <= names
