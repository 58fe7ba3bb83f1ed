"""From a search or the name of a session to its folder and its Alyx record: all that talks to a server is in here.

Four calls go from one to the other, and a fifth does it all::

    one = connect(base_url="https://openalyx.internationalbrainlab.org")
    find_sessions(one, subject="KS014", datasets="spikes.times.npy")
    eid = resolve(one, "KS014/2019-12-03/001")
    record = fetch_record(one, eid)
    session_path = download(one, eid, interfaces=["Trials", "Wheel"])

    session_path, record = open_source("KS014/2019-12-03/001", one=one)
"""

from .connection import connect
from .download import download
from .http import Limits
from .records import fetch_record
from .references import parse_reference
from .resolution import resolve
from .search import SEARCH_TERMS, find_sessions
from .source import open_source, stream_source
from .summary import SessionSummary

__all__ = [
    "SEARCH_TERMS",
    "Limits",
    "SessionSummary",
    "connect",
    "download",
    "fetch_record",
    "find_sessions",
    "open_source",
    "parse_reference",
    "resolve",
    "stream_source",
]
