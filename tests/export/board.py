# SPDX-License-Identifier: Apache-2.0
"""A made-up board that speaks the line protocol over standard input and output: `board.py [MODE [AT]]`.

It counts 100 cycles for each output value and 7 more; from request AT on it does what the mode says.
"""

from __future__ import annotations

import sys
import time


def main() -> int:
    mode = sys.argv[1] if len(sys.argv) > 1 else "right"
    at = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    if mode == "noisy":
        sys.stdout.write("\x00\xffboot v1.2\r\nhello there\r\n")
    if mode == "mute":
        time.sleep(60)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "hello":
            greetings = {"old": "hello 0 cycles 0 fake", "odd": "hello 1 apples 0 fake", "idle": "hello 1 nothing 0 fake", "chatty": "tick\n" * 100}
            timed = {"timed": "hello 1 nanoseconds 0 clock", "counted": "hello 1 instructions 0 counter"}
            answer = (greetings | timed).get(mode, "hello 1 cycles 100000000 fake board, gcc -O2")
        else:
            number, sizes = int(words[1]), [int(word) for word in words[3:]]
            answer = f"ok {number} {100 * sizes[3] * sizes[4] * sizes[5] + 7}"
            if number >= at:
                answer = misbehave(mode, number) or answer
        sys.stdout.write(f"{answer}\r\n" if mode == "noisy" else f"{answer}\n")
        sys.stdout.flush()
    return 0


def misbehave(mode: str, number: int) -> str:
    if mode == "dies":
        sys.stderr.write("hard fault at 0x8000\n")
        sys.exit(3)
    if mode == "hangs":
        time.sleep(60)
    wrong = {
        "garbage": "@@@",
        "stale": f"ok {number - 1} 5",
        "negative": f"ok {number} -5",
        "zero": f"ok {number} 0",
        "wrong": f"error {number} differs",
        "full": f"error {number} memory",
        "strange": f"error {number} tired",
    }
    return wrong.get(mode, "")


if __name__ == "__main__":
    sys.exit(main())
