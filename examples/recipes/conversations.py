"""A two-way conversation with a worker: requests and replies, news from it, and what happens when it fails."""

from collections import Counter

from manyhands import process_task


@process_task
def librarian(texts: list[str], *, channel) -> int:
    """Answer how often words occur; prepare that once, and return how many questions there were."""
    counts = Counter(word for text in texts for word in text.split())
    questions = 0
    for word in channel:  # until the caller closes its end
        questions += 1
        channel.send(counts[word])
    return questions


@process_task
def climber(height: int, *, channel) -> str:
    """Tell how far it is, and turn round when told to."""
    for step in range(1, height + 1):
        channel.send(step)
        if channel.receive() == "back":
            return f"back from {step}"
    return "at the top"


@process_task
def touchy(*, channel) -> None:
    """Take offence at zero."""
    for number in channel:
        channel.send(1 / number)


# Requests and replies. What is prepared once in the worker serves all of them.
with librarian.start(["to be or not to be", "that is the question"]) as desk:
    for word in ("to", "question", "answer"):
        print(f"{word}: {desk.channel.request(word)}")
    desk.channel.close()
    print("questions:", desk.result())

# It speaks first, and whenever it has something to say.
task = climber.start(1_000)
for step in task.channel:
    task.channel.send("on" if step < 3 else "back")
print(task.result())

# When it fails, nobody waits for an answer for ever; its exception is its result.
task = touchy.start()
print("half:", task.channel.request(2))
try:
    task.channel.request(0)
except EOFError:
    print("no answer")
try:
    task.result()
except ZeroDivisionError as error:
    print(f"{type(error).__name__}: {error}")
