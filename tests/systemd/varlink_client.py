"""Drives the Python package `varlink` for the case varlink.sh: a client that is not ours, which learns the interfaces over the
socket and checks nothing of them itself.

  varlink_client.py methods                    every method of every interface, a line each
  varlink_client.py call METHOD PARAMETERS     prints the reply as JSON, or ERROR and its parameters with exit status 3
  varlink_client.py more METHOD PARAMETERS     prints each reply of a call with `more`, a line each
  varlink_client.py oneway METHOD PARAMETERS   calls without a reply, and shows that the connection still works
  varlink_client.py fits METHOD                reads replies (lines of JSON) and holds them against the interface

The surprise: the package drops nulls, so `fits` is for replies that another client printed.
"""

import json
import sys

sys.path.insert(0, "/usr/local/lib/varlink-python")
import varlink
from varlink import scanner

ADDRESS = "unix:/run/contentd/contentd.sock"


def split(method):
    interface, _, name = method.rpartition(".")
    return interface, name


def misfits(interface, kind, value, where):
    """What of a value is not as the type says, recursively."""
    if isinstance(kind, scanner._Maybe):
        return [] if value is None else misfits(interface, kind.element_type, value, where)
    if isinstance(kind, scanner._CustomType):
        return misfits(interface, interface.members[kind.name].type, value, where)
    if isinstance(kind, scanner._Object):
        return [] if value is not None else [f"{where} is null"]
    if isinstance(kind, scanner._Array):
        if not isinstance(value, list):
            return [f"{where} is no array: {value!r}"]
        return [fault for at, item in enumerate(value) for fault in misfits(interface, kind.element_type, item, f"{where}[{at}]")]
    if isinstance(kind, scanner._Dict):
        if not isinstance(value, dict):
            return [f"{where} is no map: {value!r}"]
        return [fault for key, item in value.items() for fault in misfits(interface, kind.element_type, item, f"{where}[{key}]")]
    if isinstance(kind, scanner._Struct):
        if not isinstance(value, dict):
            return [f"{where} is no struct: {value!r}"]
        faults = [f"{where}.{name} is not in the interface" for name in value if name not in kind.fields]
        faults += [f"{where}.{name} is missing" for name in kind.fields if name not in value]
        for name, field in kind.fields.items():
            if name in value:
                faults += misfits(interface, field, value[name], f"{where}.{name}")
        return faults
    # The package writes a simple type as a value of it. A whole number is a float too, and true is no number.
    wanted = (int, float) if type(kind) is float else type(kind)
    is_fine = isinstance(value, wanted) and isinstance(value, bool) == (type(kind) is bool)
    return [] if is_fine else [f"{where} should be {type(kind).__name__}: {value!r}"]


def main(verb, *rest):
    with varlink.Client(ADDRESS) as client:
        if verb == "methods":
            for name in client.get_interfaces():
                for member in client.get_interface(name).members.values():
                    if isinstance(member, scanner._Method):
                        print(f"{name}.{member.name}")
            return 0
        interface, name = split(rest[0])
        if verb == "fits":
            description = client.get_interface(interface)
            replies = [json.loads(line) for line in sys.stdin if line.strip()]
            kind = description.get_method(name).out_type
            faults = [fault for reply in replies for fault in misfits(description, kind, reply, name)]
            for fault in faults:
                print(fault)
            return 0 if replies and not faults else 1
        parameters = json.loads(rest[1])
        with client.open(interface) as connection:
            method = getattr(connection, name)
            try:
                if verb == "more":
                    for reply in method(_more=True, **parameters):
                        print(json.dumps(reply), flush=True)
                elif verb == "oneway":
                    method(_oneway=True, **parameters)
                    print(json.dumps(connection.Ping()))
                else:
                    print(json.dumps(method(**parameters)))
            except varlink.VarlinkError as error:
                print(error.error())
                print(json.dumps(error.parameters()))
                return 3
    return 0


sys.exit(main(*sys.argv[1:]))
