"""Learn to recognise words from their order only: no label says at which step a word starts.

python examples/minimal.py    takes a few seconds on one CPU core
"""

import torch

import softdp

torch.manual_seed(0)
torch.set_num_threads(1)  # more threads do not help: the tensors are small
words = torch.randn(5, 8)  # five words; a word is a vector of 8 numbers
speaker = torch.randn(8, 16)  # how a word sounds: 16 features a step, and noise


def record(pairs: int) -> tuple[torch.Tensor, ...]:
    """Sounds (B, N, 16) and the words that they say (B, M, 8), both padded, with their lengths (B,)."""
    said = [words[torch.randint(5, (n,))] for n in torch.randint(4, 9, (pairs,)).tolist()]
    heard = [w.repeat_interleave(torch.randint(2, 6, (len(w),)), dim=0) @ speaker for w in said]
    heard = [sound + torch.randn_like(sound) for sound in heard]
    padded = [torch.nn.utils.rnn.pad_sequence(s, batch_first=True) for s in (heard, said)]
    return *padded, torch.tensor([len(s) for s in heard]), torch.tensor([len(s) for s in said])


model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 8))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

for step in range(101):
    x, y, x_lengths, y_lengths = record(pairs=32)
    cost = softdp.squared_euclidean(model(x), y, x_lengths=x_lengths, y_lengths=y_lengths)  # (B, N, M)
    score = softdp.soft_dtw(cost, gamma=0.1, x_lengths=x_lengths, y_lengths=y_lengths)  # (B,)
    loss = (score / x_lengths).mean()  # a squared distance per step; 0 would be perfect
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step:3d}: loss {loss.item():.2f}")
