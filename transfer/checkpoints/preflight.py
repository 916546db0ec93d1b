"""A look at a pickle before it is read: what it would cost, found without making any of its objects.

A few bytes can ask for gigabytes (an index into the memo, one string copied a thousand times), for hours (a tuple that
holds itself twice, thirty times over, as the key of a dictionary) or for millions of objects. So the opcodes are walked
once, with a number in place of each object: its *weight*, about its size in units of 32 bytes and what hashing it would
visit. Real checkpoints stay far below every limit here.
"""

import pickletools
from typing import IO, Any

MOST_OPCODES = 1_000_000  # each makes at most one object; a ResNet-50 with its optimiser needs some 20,000
MOST_TUPLE = 4_000_000  # weight of one tuple
MOST_COPIED = 8_000_000  # weight of all that is hashed or copied on reading, beside twice the file's own size
UNIT = 32  # bytes

# What these make holds, and hashes, all that they are made of; a call or a state may copy it.
_KEEPS = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET", "REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}
_GROWS = {"APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS"}  # what is on the stack, or in the memo, holds more
_COPIES = {"ADDITEMS", "FROZENSET", "REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}
_LOOKS_UP = {"SETITEM", "SETITEMS", "DICT"}  # every other one of what it takes, the keys


class TooMuch(Exception):
    """A pickle that no checkpoint needs; the message is for people."""


class _Node:
    """Stands for an object; a container's weight grows, also where the memo holds it."""

    __slots__ = ("weight",)

    def __init__(self, weight: int):
        self.weight = weight


_MARK = _Node(0)


def weigh(file: IO[bytes], size: int) -> None:
    """Walk one pickle from the file's position to its end.

    Args:
        file: open for reading in binary.
        size: of the file in bytes: what it copies may be as large again.

    Raises:
        TooMuch: a limit of this module is passed.
        ValueError: the opcodes are damaged or cut short.
    """
    stack: list[_Node] = []
    memo: dict[int, _Node] = {}
    copied, most = 0, MOST_COPIED + 2 * size // UNIT
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if count > MOST_OPCODES:
            raise TooMuch(f"it makes more than {MOST_OPCODES:,} objects")
        if name == "MARK":
            stack.append(_MARK)
        elif name == "MEMOIZE" or "PUT" in name:
            index = len(memo) if argument is None else int(argument)
            if index > MOST_OPCODES:
                raise TooMuch(f"it numbers its objects up to {index:,}")
            memo[index] = stack[-1] if stack else _Node(1)
        elif "GET" in name:
            stack.append(memo.get(int(argument), _Node(1)))
        elif name == "DUP":
            stack.extend(stack[-1:])
        else:
            taken, container = _take(opcode, stack, name in _GROWS)
            held = sum(node.weight for node in taken)
            if container is not None:
                container.weight += held
                stack.append(container)
            else:
                weight = 1 + _size(argument) + (held if name in _KEEPS or opcode.stack_after == _LIST else 0)
                if weight > MOST_TUPLE and name.startswith("TUPLE"):
                    raise TooMuch("it nests tuples in tuples")
                stack.extend(_Node(weight) for _ in opcode.stack_after)
            copied += _copied(name, taken)
            if copied > most:
                raise TooMuch("it copies what it holds too often")


_LIST = [pickletools.pylist]


def _copied(name: str, taken: list[_Node]) -> int:
    """Return the weight of what an opcode hashes or may copy; `taken` begins with what was on top of the stack."""
    if name in _LOOKS_UP:
        return sum(node.weight for node in taken[1::2])
    return sum(node.weight for node in taken) if name in _COPIES else 0


def _size(argument: Any) -> int:
    """Return the size of an opcode's own value in units."""
    if isinstance(argument, int):
        return argument.bit_length() // (8 * UNIT)
    return len(argument) // UNIT if isinstance(argument, (str, bytes, bytearray)) else 0


def _take(opcode: pickletools.OpcodeInfo, stack: list[_Node], grows: bool) -> tuple[list[_Node], _Node | None]:
    """Take from the stack what an opcode takes; a damaged pickle may ask for more than is there.

    Returns the parts, and apart from them the container that they go into, where the opcode fills one.
    """
    taken: list[_Node] = []
    before = list(opcode.stack_before)
    if pickletools.markobject in before:
        while stack and (top := stack.pop()) is not _MARK:
            taken.append(top)
        before = before[: before.index(pickletools.markobject)]
    taken += [stack.pop() if stack else _Node(1) for _ in before]
    container = taken.pop() if grows and taken else None
    return taken, container
