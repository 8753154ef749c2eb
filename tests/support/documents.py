"""What others make of our documents: SPDX's, NTIA's and CycloneDX's checkers, in-toto's classes."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ntia_conformance_checker import SbomChecker


def check_spdx(data: bytes, by_ntia: bool = True) -> Any:
    """The document as spdx-tools reads it, which finds nothing wrong in it, as NTIA's checker finds nothing missing."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "document.spdx.json")
        path.write_bytes(data)
        document = parse_file(str(path))
        messages = [message.validation_message for message in validate_full_spdx_document(document)]
        assert messages == []
        if by_ntia:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert SbomChecker(str(path)).compliant
    return document


def check_cyclonedx(data: bytes) -> dict[str, Any]:
    """The document, which must be valid by the strict schema, and refer to nothing that is not in it."""
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    assert error is None, error
    document: dict[str, Any] = json.loads(data)
    refs = [document["metadata"]["component"]["bom-ref"], *(each["bom-ref"] for each in document["components"])]
    assert len(set(refs)) == len(refs)
    assert {ref for each in document["dependencies"] for ref in (each["ref"], *each["dependsOn"])} == set(refs)
    for each in document["components"]:
        if "purl" in each:
            assert PackageURL.from_string(each["purl"]).to_string() == each["purl"]
    return document


def check_provenance(data: bytes) -> dict[str, Any]:
    """The statement, which must be one by in-toto's protobuf and checks, its predicate by SLSA's."""
    document: dict[str, Any] = json.loads(data)
    Statement.copy_from_pb(json_format.ParseDict(document, statement_pb2.Statement())).validate()
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    predicate = json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())
    assert predicate.build_definition.build_type
    assert predicate.run_details.builder.id
    for each in predicate.build_definition.resolved_dependencies:
        assert each.name
        assert all(len(value) == 64 for value in each.digest.values())
    return document
