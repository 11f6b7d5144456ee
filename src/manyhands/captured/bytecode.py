"""What one code object shows: the globals it reads, those it changes, the modules it imports, the attributes it names.

Works on the bytes of ``co_code``, which are the same whether the function has run or not (the interpreter's
specialised instructions are undone there). Nothing is executed and nothing is looked up: facts depend on the code
alone, so they are found once for each code object. Part of ``captured``; used by ``reads`` and ``updates``.
"""

from __future__ import annotations

import sys
from opcode import HAVE_ARGUMENT, opmap, stack_effect
from types import CodeType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Code objects whose facts are kept; more than a program's functions, less than a leak.
KEPT = 20_000

#: Instructions looked through for what becomes of one global: longer expressions than that are not followed.
SPAN = 200

#: Methods that change the object they are called on.
MUTATORS = frozenset(
    {
        "add",
        "append",
        "appendleft",
        "clear",
        "difference_update",
        "discard",
        "extend",
        "extendleft",
        "fill",
        "insert",
    }
    | {
        "intersection_update",
        "move_to_end",
        "pop",
        "popitem",
        "popleft",
        "put",
        "remove",
        "resize",
        "reverse",
        "rotate",
    }
    | {"setdefault", "sort", "subtract", "symmetric_difference_update", "update", "write"}
)


def _number(name: str) -> int:
    return opmap.get(name, -1)


LOAD_GLOBAL = _number("LOAD_GLOBAL")
STORE_GLOBAL = _number("STORE_GLOBAL")
DELETE_GLOBAL = _number("DELETE_GLOBAL")
STORE_DEREF = _number("STORE_DEREF")
DELETE_DEREF = _number("DELETE_DEREF")
_BY_NAME = {_number("LOAD_NAME"), _number("LOAD_FROM_DICT_OR_GLOBALS")} - {-1}  # in the bodies of classes
_LOAD_ATTR = _number("LOAD_ATTR")
_LOAD_METHOD = _number("LOAD_METHOD")  # 3.11 only
_LOAD_SUPER_ATTR = _number("LOAD_SUPER_ATTR")
_STORE_ATTR = {_number("STORE_ATTR"), _number("DELETE_ATTR")}
_STORE_SUBSCR = {_number("STORE_SUBSCR"), _number("DELETE_SUBSCR")}
_STORE_SLICE = _number("STORE_SLICE")
_SWAP = _number("SWAP")
_POP_TOP = _number("POP_TOP")
_JUMPS = {_number(name) for name in ("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT")}
_IMPORT_NAME = _number("IMPORT_NAME")
_IMPORT_FROM = _number("IMPORT_FROM")
_LOAD_CONST = _number("LOAD_CONST")
_LOAD_SMALL_INT = _number("LOAD_SMALL_INT")
_KW_NAMES = _number("KW_NAMES")
_EXTENDED_ARG = _number("EXTENDED_ARG")
_CACHE = 0

# How far the index of a name is shifted in the argument: the low bits are flags.
_ATTR_SHIFT = 1 if sys.version_info >= (3, 12) else 0
_IMPORT_SHIFT = 2 if sys.version_info >= (3, 15) else 0

Chain = tuple[str, ...]


class Import(NamedTuple):
    """An import statement inside a function: ``from <level dots><name> import <names>``; without names ``import <name>``."""

    level: int
    name: str
    names: tuple[str, ...]


class Facts(NamedTuple):
    """What a code object, and the functions, classes and comprehensions written inside it, show.

    Args:
        chains: each global read, with the attributes taken of it: ``a.b.c`` is ``("a", "b", "c")``.
        changed: the same for what is assigned, deleted, stored into, or changed by a method known for it.
        imports: the import statements.
        attributes: every attribute read, whatever it is an attribute of.
        stored: every attribute assigned or deleted, likewise.
    """

    chains: tuple[Chain, ...]
    changed: tuple[Chain, ...]
    imports: tuple[Import, ...]
    attributes: tuple[str, ...]
    stored: tuple[str, ...]


_facts: dict[int, tuple[CodeType, Facts]] = {}


def facts(code: CodeType) -> Facts:
    """Return the facts of a code object and of those nested in it, from memory where it was asked before.

    Example:
        >>> facts(compile("print(math.pi)", "<example>", "exec")).chains
        (('print',), ('math', 'pi'))
    """
    # By identity: code objects compare by value, which costs more than the look-up. The entry keeps the id taken.
    entry = _facts.get(id(code))
    if entry is None:
        reader = _Reader()
        for part in nested(code):
            reader.read(part)
        if len(_facts) >= KEPT:
            _facts.clear()
        entry = _facts[id(code)] = (code, reader.facts())
    return entry[1]


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and the functions, classes and comprehensions written inside it."""
    yield code
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from nested(constant)


def instructions(code: CodeType) -> list[tuple[int, int, int]]:
    """Return (opcode, argument, offset) of each instruction, long arguments put together, caches left out."""
    data = code.co_code
    found = []
    high = 0
    for offset in range(0, len(data), 2):
        op = data[offset]
        if op == _CACHE:
            continue
        argument = data[offset + 1] | high
        if op == _EXTENDED_ARG:
            high = argument << 8
            continue
        high = 0
        found.append((op, argument, offset))
    return found


def assigned_globals(code: CodeType) -> list[tuple[str, int]]:
    """Return the globals that a code object assigns or deletes, except by importing, with the line of each."""
    found = []
    source = -1  # the instruction that made the value, with what only moves it left out
    for op, argument, offset in instructions(code):
        if op in (STORE_GLOBAL, DELETE_GLOBAL) and source not in (_IMPORT_NAME, _IMPORT_FROM):
            found.append((code.co_names[argument], _line(code, offset)))
        if op not in (_SWAP, _POP_TOP):
            source = op
    return found


def assigned_variables(code: CodeType) -> list[tuple[str, int]]:
    """Return the variables of enclosing functions that a code object assigns or deletes, with the line of each."""
    # Arguments index the local variables, then those shared with inner functions, then those of enclosing ones.
    shared = [name for name in code.co_cellvars if name not in code.co_varnames]
    variables = [*code.co_varnames, *shared, *code.co_freevars]
    first = len(variables) - len(code.co_freevars)
    return [
        (variables[argument], _line(code, offset))
        for op, argument, offset in instructions(code)
        if op in (STORE_DEREF, DELETE_DEREF) and argument >= first
    ]


def _line(code: CodeType, offset: int) -> int:
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno


class _Reader:
    """Collects facts from code objects, each once and in the order of the code."""

    def __init__(self) -> None:
        self.chains: dict[Chain, None] = {}
        self.changed: dict[Chain, None] = {}
        self.imports: dict[Import, None] = {}
        self.attributes: dict[str, None] = {}
        self.stored: dict[str, None] = {}

    def facts(self) -> Facts:
        return Facts(
            tuple(self.chains),
            tuple(self.changed),
            tuple(self.imports),
            tuple(self.attributes),
            tuple(self.stored),
        )

    def read(self, code: CodeType) -> None:
        names = code.co_names
        steps = instructions(code)
        for place, (op, argument, _) in enumerate(steps):
            if op == LOAD_GLOBAL or op in _BY_NAME:
                called = op == LOAD_GLOBAL and argument & 1
                chain = [names[argument >> 1 if op == LOAD_GLOBAL else argument]]
                follow = place + 1
                while follow < len(steps) and (name := _attribute(steps[follow], names)) is not None:
                    chain.append(name)
                    follow += 1
                self.chains[tuple(chain)] = None
                if not called:
                    self._follow(code, steps, place + 1, tuple(chain))
            elif op in (STORE_GLOBAL, DELETE_GLOBAL):
                self.changed[names[argument],] = None
            elif op in _STORE_ATTR:
                self.stored[names[argument]] = None
            elif op == _IMPORT_NAME:
                self._import(code, steps, place)
            elif op == _LOAD_SUPER_ATTR:
                self.attributes[names[argument >> 2]] = None
            elif (name := _attribute(steps[place], names)) is not None:
                self.attributes[name] = None

    def _follow(self, code: CodeType, steps: list[tuple[int, int, int]], place: int, chain: Chain) -> None:
        """Follow a global over the stack to what uses it; note it if that changes it.

        What is computed from it and takes its place on the stack (an item, an attribute) counts as part of it, so that
        ``cache[key].append(x)`` changes ``cache``. Jumps are not followed.
        """
        above = 0  # values on the stack above it
        for op, argument, _ in steps[place : place + SPAN]:
            if op == _SWAP:
                above = argument - 1 if above == 0 else 0 if above == argument - 1 else above
                continue
            if op in _STORE_ATTR and above == 0:
                # `module.name = value`; of anything else than a module or class, the longer name does no harm
                self.changed[*chain, code.co_names[argument]] = None
                return
            if (op in _STORE_SUBSCR and above == 1) or (op == _STORE_SLICE and above == 2):
                self.changed[chain] = None
                return
            name = _attribute((op, argument, 0), code.co_names)
            # `out=` among the keywords of a call: where NumPy puts its results
            into = op in (_LOAD_CONST, _KW_NAMES) and _is_out(code.co_consts[argument])
            if into or (above == 0 and name in MUTATORS):
                self.changed[chain] = None
                return
            if op in _JUMPS:
                return
            try:
                above += stack_effect(op, argument if op >= HAVE_ARGUMENT else None, jump=False)
            except ValueError:  # an instruction that must not have an argument, or one that only tools insert
                return
            if above < 0:
                return

    def _import(self, code: CodeType, steps: list[tuple[int, int, int]], place: int) -> None:
        """Note an import statement: the two instructions before it load its level and its names."""
        level = 0
        names: tuple[str, ...] = ()
        if place >= 2:
            op, argument, _ = steps[place - 2]
            constant = (
                argument if op == _LOAD_SMALL_INT else code.co_consts[argument] if op == _LOAD_CONST else 0
            )
            level = constant if isinstance(constant, int) else 0
            op, argument, _ = steps[place - 1]
            constant = code.co_consts[argument] if op == _LOAD_CONST else None
            names = constant if isinstance(constant, tuple) else ()
        self.imports[Import(level, code.co_names[steps[place][1] >> _IMPORT_SHIFT], names)] = None


def _attribute(step: tuple[int, int, int], names: tuple[str, ...]) -> str | None:
    """Return the name that an instruction takes as an attribute, or None."""
    op, argument, _ = step
    if op == _LOAD_ATTR:
        return names[argument >> _ATTR_SHIFT]
    return names[argument] if op == _LOAD_METHOD else None


def _is_out(constant: object) -> bool:
    return type(constant) is tuple and "out" in constant
