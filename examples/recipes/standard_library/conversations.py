"""A two-way conversation with a worker: requests and replies, news from it, and what happens when it fails."""

from collections import Counter
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from typing import Any


def librarian(channel: Connection, texts: list[str]) -> None:
    """Answer how often words occur; prepare that once, and send how many questions there were."""
    counts = Counter(word for text in texts for word in text.split())
    questions = 0
    while (word := channel.recv()) is not None:  # None was agreed upon to be the end
        questions += 1
        channel.send(counts[word])
    channel.send(questions)


def climber(channel: Connection, height: int) -> None:
    """Tell how far it is, and turn round when told to."""
    for step in range(1, height + 1):
        channel.send((True, step))  # what comes may be news or the result: each message says which
        if channel.recv() == "back":
            channel.send((False, f"back from {step}"))
            return
    channel.send((False, "at the top"))


def touchy(channel: Connection) -> None:
    """Take offence at zero."""
    try:
        while True:
            channel.send((True, 1 / channel.recv()))
    except Exception as error:
        channel.send((False, error))


def start(function: Any, *args: Any) -> tuple[Process, Connection]:
    """Start a process, and return it with this end of a pipe to it."""
    here, there = Pipe()
    process = Process(target=function, args=(there, *args), daemon=True)
    process.start()
    there.close()  # as long as this process has that end, recv() never finds out that the other one is dead
    return process, here


def main() -> None:
    process, desk = start(librarian, ["to be or not to be", "that is the question"])
    for word in ("to", "question", "answer"):
        desk.send(word)
        print(f"{word}: {desk.recv()}")
    desk.send(None)
    print("questions:", desk.recv())
    process.join()

    process, rope = start(climber, 1_000)
    while True:
        is_news, what = rope.recv()
        if not is_news:
            break
        rope.send("on" if what < 3 else "back")
    print(what)
    process.join()

    process, talk = start(touchy)
    talk.send(2)
    print("half:", talk.recv()[1])
    talk.send(0)
    is_answer, what = talk.recv()
    if not is_answer:
        print("no answer")
        print(f"{type(what).__name__}: {what}")
    process.join()


if __name__ == "__main__":
    main()
