"""Plugin for Orthanc: name this file in ``PythonScript`` of Orthanc's configuration. Research use only.

It needs Orthanc's Python plugin (Debian: ``orthanc-python``) and nothing else: the standard library does the rest.
"""

from tips_med_orthanc.plugin import start

start()
