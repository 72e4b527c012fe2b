"""What the model says by itself and behind the instruction: asked once, kept line by line, so that a kill loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heedlm.eval.asking import Ask, answers
from heedlm.instructions.replies import Kept, Store, key_of
from heedlm.messages import Chat, Message, Reply, Request, Sampling

SEEDS = 1_000_003  # between the seeds of two samples: a call counts up from its seed


def replies(
    chat: Chat,
    identity: str,
    asked: Sequence[tuple[Message, ...]],
    sampling: Sampling,
    store: Store,
    *,
    samples: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[list[Reply]]:
    """For each conversation its replies, `samples` of them; what is in the store is not asked again.

    identity: what tells this model from another of its name.   on_progress: hears answers done and answers in all.
    """
    asks: dict[str, Ask] = {}
    keys: list[list[str]] = []
    for turns in asked:
        drawn = [Ask(Request(turns), seed=SEEDS * sample if sample else None) for sample in range(samples)]
        keys.append([key_of(f"{chat.name} {identity}".strip(), one, sampling) for one in drawn])
        asks |= zip(keys[-1], drawn, strict=True)
    missing = [key for key in asks if key not in store.replies]
    failed: dict[str, Kept] = {}
    done = len(asks) - len(missing)
    on_progress(done, len(asks))
    for batch in answers(chat, [asks[key] for key in missing], sampling):
        fresh = {
            missing[index]: Kept(reply, tokens, batch.seconds / len(batch.indices))
            for index, reply, tokens in zip(batch.indices, batch.replies, batch.tokens, strict=True)
        }
        failed |= {key: one for key, one in fresh.items() if one.reply.stop_reason == "error"}
        store.keep({key: one for key, one in fresh.items() if key not in failed})
        done += len(fresh)
        on_progress(done, len(asks))
    known = {**store.replies, **failed}
    return [[known[key].reply for key in row] for row in keys]
