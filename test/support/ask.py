# Connects so many times to port 80 and counts who answers: ask.py ADDRESS TIMES
import collections
import socket
import sys

answers = collections.Counter()
for _ in range(int(sys.argv[2])):
    with socket.create_connection((sys.argv[1], 80), 5) as connection:
        answers[connection.recv(100).decode()] += 1
print(" ".join(f"{name} {count}" for name, count in sorted(answers.items())), flush=True)
