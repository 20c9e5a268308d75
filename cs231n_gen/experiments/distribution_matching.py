"""The methods of chapter 12 that look at a student's samples, not at paths: moment matching and
adversaries, in the plane. Given."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cs231n_gen import consistency, distill, flow
from cs231n_gen.experiments.distillation_methods import BATCH, Draw, Lesson, jump, walk
from cs231n_gen.given.mlp import MLP, VelocityMLP


def moment_matching(
    lesson: Lesson, steps: int = 720, first: int = 560, turns: int = 2, lr: float = 2e-3
) -> Draw:
    """Moment matching: a second flow follows the student's samples and says where they should go.

    Both start as copies of a network that has the teacher's velocity. The second learns in `turns`
    steps for each step of the student.
    """
    net = lesson.imitation(first)
    auxiliary = copy.deepcopy(net)
    follow = _Follower(auxiliary, 2 * lr)

    def samples():
        return consistency.function(net, lesson.noise(), torch.ones(BATCH))

    def loss(share):
        for _ in range(turns):
            x = samples().detach()
            follow.step(flow.loss(auxiliary, x, lesson.noise(), lesson.levels()), share)
        t = 0.02 + 0.96 * lesson.levels()
        return distill.moment_matching_loss(lesson.teacher, auxiliary, samples(), lesson.noise(), t)

    lesson.fit(net, loss, steps, lr)
    return jump(net)


def adversarial(lesson: Lesson, steps: int = 670, weight: float = 1.0) -> Draw:
    """ADD: heads on a network that knows points, since it tells the data's labels apart.

    `weight` is that of the distillation loss beside the adversarial one: direct regression.
    """
    classes = int(lesson.toy.mixture.labels.max()) + 1
    classifier = lesson.seeded(lambda: MLP(2, classes, layers=2))

    def loss(share):
        x, y = lesson.toy.sample_labelled(BATCH, lesson.generator)
        return F.cross_entropy(classifier(x), y)

    lesson.fit(classifier, loss, 270)
    return _play(lesson, Inside(classifier), False, steps, weight)


def latent_adversarial(lesson: Lesson, steps: int = 500, weight: float = 1.0) -> Draw:
    """LADD: heads on a flow's own hidden layers, of noised samples."""
    return _play(lesson, Inside(lesson.imitation(380)), True, steps, weight)


def adversarial_alone(lesson: Lesson) -> Draw:
    """LADD without a distillation loss: nothing but the game, from the direct student."""
    return latent_adversarial(lesson, 620, weight=0.0)


class Inside(nn.Module):
    """The hidden layers of a network side by side, as features.

    Args:
        net: an `MLP` or a `VelocityMLP`.
    """

    def __init__(self, net: MLP | VelocityMLP):
        super().__init__()
        self.net = net
        self.width = sum(layer.out_features for layer in net.hidden)

    def forward(self, *inputs: Tensor) -> Tensor:
        found: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda module, given, out: found.append(out))
            for layer in self.net.hidden
        ]
        try:
            self.net(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(found, dim=1)


def _play(lesson: Lesson, features: Inside, noised: bool, steps: int, weight: float) -> Draw:
    """Direct regression, then the game."""
    net, pairs = lesson.net(), lesson.pairs()
    heads = lesson.seeded(lambda: MLP(features.width, 1, 64, 1))
    follow = _Follower(heads, 2e-3)

    def direct(share=0.0):
        return flow.loss(net, *pairs(), torch.ones(BATCH))

    def loss(share):
        x_hat = consistency.function(net, lesson.noise(), torch.ones(BATCH))
        noise = (lesson.noise(), lesson.levels()) if noised else ()
        student, judges = distill.adversarial_loss(features, heads, lesson.data(), x_hat, *noise)
        follow.step(judges, share)
        return student + weight * direct() if weight else student

    lesson.fit(net, direct, 640)
    lesson.fit(net, loss, steps, lr=1e-3)
    return walk(net)


class _Follower:
    """The optimiser of a second network, whose learning rate falls with the first one's."""

    def __init__(self, net: nn.Module, lr: float):
        self.lr = lr
        self.optimizer = torch.optim.Adam(net.parameters(), lr, betas=(0.0, 0.99), fused=True)

    def step(self, loss: Tensor, share: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * (1 - share)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
