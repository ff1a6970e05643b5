"""Whether an installed wheel computes with its kernels: one loss, forward and backward, against torch."""

import torch

import segcrit

available = {backend.name: backend for backend in segcrit.backends()}
assert available["cpu"].available, available["cpu"].reason
print(available["cpu"].reason)

torch.manual_seed(0)
logits, target = torch.randn(2, 5, 33, 47), torch.randint(5, (2, 33, 47))
results = []
for loss in (segcrit.Criterion("ce", backend="cpu"), torch.nn.CrossEntropyLoss()):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    results.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
torch.testing.assert_close(*results)
assert segcrit.Criterion("ce + dice + lovasz", backend="cpu")(logits, target).isfinite()
