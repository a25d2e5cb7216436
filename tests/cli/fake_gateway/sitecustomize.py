"""Python runs this at the start of each process with this folder on PYTHONPATH: imports of the rooms that the command is
tried without find their stand-ins, in the children of children, too."""

import importlib.abc
import importlib.util
import os
import sys

HERE = os.path.dirname(__file__)
STAND_INS = {
    "tollway.app": "fake_app.py",
    "xllamacpp": "fake_xllamacpp.py",
}


class StandIns(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in STAND_INS or name in os.environ.get("FAKE_NOT", "").split():
            return None
        return importlib.util.spec_from_file_location(name, os.path.join(HERE, STAND_INS[name]))


sys.meta_path.insert(0, StandIns())
