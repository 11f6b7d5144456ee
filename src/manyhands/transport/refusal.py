from manyhands.exceptions import UnpicklableError
def safe_repr(o, limit=60): return repr(o)[:limit]
def refuse(o, root, cause, dumps): return UnpicklableError(f"{root} {cause}")
