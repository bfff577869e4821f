"""`radiolabel policy`: what a checker trusts, said before the evidence is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from verify.cli.output import FORMAT, check_distinct, check_new_file, new_file, print_record

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@click.command()
@click.option("--signer", required=True, metavar="HEX|FILE",
              help="Who has to have signed: the public key, or a PEM file of it or of its private half.")  # fmt: skip
@click.option("--tsa-certs", required=True, metavar="FILE|none",
              help="PEM file of the root certificates of the timestamp authorities that you trust.")  # fmt: skip
@click.option("--released", required=True, metavar="TIME|unknown",
              help="When the suspect, or its outputs that were tested, became public at the earliest.")  # fmt: skip
@click.option("--beacon-value", required=True, metavar="HEX|unknown",
              help="Of the master commitment's round, as you looked it up.")  # fmt: skip
@click.option("--require", "required", required=True, multiple=True, metavar="STEP|none",
              help="Step that must be ok, such as measured; may be repeated.")  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(), help="New file.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@FORMAT
def policy(
    signer: str,
    tsa_certs: str,
    released: str,
    beacon_value: str,
    required: tuple[str, ...],
    output: str,
    force: bool,
    output_format: str | None,
) -> None:
    """Write down what you trust, and what evidence has to show you.

    Nothing has a default: none and unknown are answers too. Take every value from elsewhere and never from the
    evidence, which would then vouch for itself. The public key is what radiolabel key signer printed as public.

    The steps are those of docs/spec/evidence.md, section 9. A file is accepted if no step failed and every step that
    is required is ok.

    \b
    Example:
      radiolabel policy --signer signer.pub --tsa-certs roots.pem \\
        --released 2027-05-01T00:00:00Z --beacon-value unknown \\
        --require plan --require release.keys --require measured -o policy.json
    """
    from verify.cli.committed import roots_in
    from verify.evidence.policy import Policy
    from verify.evidence.signing import keyid, read_public

    if "none" in required and len(required) > 1:
        raise click.UsageError("--require none goes with no other --require")
    certs = None if tsa_certs == "none" else tsa_certs
    check_distinct({"--signer": signer, "--tsa-certs": certs}, {"--output": output})
    check_new_file(output, force=force)
    public = read_public(signer)
    made = Policy(
        signer=public.hex(),
        roots="".join(_pem(root) for root in roots_in(certs)),
        released=released,
        beacon_value=beacon_value,
        required=() if "none" in required else required,
    )
    data = made.to_json().decode()
    with new_file(output, force=force) as file:
        file.write(data)
    summary = {
        "file": output,
        "signer": made.signer,
        "keyid": keyid(public),
        "roots": [root.subject.rfc4514_string() for root in made.certificates()],
        "released": made.released,
        "beacon_value": made.beacon_value,
        "required": list(made.required),
    }
    print_record(summary, lambda: "\n".join(f"{k}: {_text(v)}" for k, v in summary.items()), output_format)


def _pem(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _text(value: object) -> str:
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)
