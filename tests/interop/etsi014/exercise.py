"""Takes keys from two KMEs through the package etsi-qkd-014-client, and prints what it saw as one JSON object.

It judges nothing: the test that runs it does. Of keys it tells lengths, and whether both sides got the same.

Usage: exercise.py MASTER_HOST_AND_PORT SLAVE_HOST_AND_PORT FOLDER, with root.pem, alice.pem, alice.key, bob.pem and
bob.key in the folder. Alice is the master.
"""

import base64
import json
import sys
from pathlib import Path

from etsi_qkd_014_client import QKD014Client

# A key_ID that no KME ever gave.
UNKNOWN = "bc490419-7d60-487f-adc1-4ddcc177c139"


def told(answer):
    """Status, and the lengths of the keys in bits or the error's message."""
    status, data = answer
    if status != 200:
        return {"status": status, "message": data.message, "details": data.details}
    return {"status": status, "bits": [len(base64.b64decode(key.key, validate=True)) * 8 for key in data.keys]}


def main():
    master, slave, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

    def client(address, name):
        return QKD014Client(address, *(str(folder / file) for file in (f"{name}.pem", f"{name}.key", "root.pem")))

    alice, bob = client(master, "alice"), client(slave, "bob")
    seen = {}
    status, data = alice.get_status("bob")
    fields = ("source_kme_id", "target_kme_id", "master_sae_id", "slave_sae_id", "key_size", "max_sae_id_count")
    seen["status"] = {"status": status} | {field: getattr(data, field) for field in fields}
    seen["defaults"] = told(by_get := alice.get_key("bob"))
    taken = alice.get_key("bob", number=3, size=512)
    seen["taken"] = told(taken)
    ids = [key.key_id for key in by_get[1].keys + taken[1].keys]
    keys = {key.key_id: key.key for key in by_get[1].keys + taken[1].keys}
    seen["with_a_bad_one"] = told(bob.get_key_with_key_IDs("alice", [*ids, UNKNOWN]))
    collected = bob.get_key_with_key_IDs("alice", ids)
    seen["collected"] = told(collected)
    seen["same"] = collected[0] == 200 and {key.key_id: key.key for key in collected[1].keys} == keys
    seen["again"] = told(bob.get_key_with_key_IDs("alice", ids))
    seen["size_12"] = told(alice.get_key("bob", size=12))
    seen["too_many"] = told(alice.get_key("bob", number=100_000))
    seen["nobody"] = told(alice.get_key("nobody"))
    seen["mandatory"] = told(alice.get_key("bob", extension_mandatory=[{"abc_unknown": 1}]))
    seen["optional"] = told(alice.get_key("bob", extension_optional=[{"abc_unknown": 1}]))
    seen["no_number"] = told(alice.get_key("bob", number=0))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
