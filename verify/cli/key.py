"""`radiolabel key`: make, derive and name keys."""

from __future__ import annotations

import click

from watermark import defaults

OUTPUT = click.option("-o", "--output", required=True, type=click.Path(), help="New key file; never overwritten.")


@click.group()
def key() -> None:
    """Make, derive and name keys.

    A master key stays in the vault, an epoch key goes to the serving sampler, and a channel's value key is what
    a verifier gets: it scores that channel and reveals nothing else.
    """


@key.command()
@OUTPUT
def new(output: str) -> None:
    """Make a master key.

    \b
    Example: radiolabel key new -o master.key
    """
    from watermark.keyfile import write_key
    from watermark.keys import MasterKey

    master = MasterKey.generate()
    write_key(master, output)
    click.echo(master.id)


@key.command()
@click.argument("file", type=click.Path())
@click.option(
    "--path", required=True, help="epoch/NAME, or epoch/NAME/ and fleet, cohort/SLOT, account/SLOT, coin or gateway."
)
@click.option("--scheme", help=f"Marking scheme and its parameters.  [default: {defaults.SCHEME}]")
@click.option("--width", type=int, help=f"Tokens in a window, 1 to 3.  [default: {defaults.WIDTH}]")
@click.option("--shares", help=f"Windows per channel.  [default: {defaults.SHARES}]")
@click.option("--beacon", default="", help="Public beacon value the epoch is bound to, in hexadecimal.")
@OUTPUT
def derive(
    file: str, path: str, scheme: str | None, width: int | None, shares: str | None, beacon: str, output: str
) -> None:
    """Derive an epoch key, a channel's value key, or the node of an epoch's coins, from FILE.

    From a master key, scheme, width and shares are chosen here; an epoch key brings its own.

    \b
    Examples:
      radiolabel key derive master.key --path epoch/2026-q4 --width 2 -o epoch.key
      radiolabel key derive epoch.key --path epoch/2026-q4/fleet -o fleet.key
    """
    from watermark.deployment import Deployment
    from watermark.keyfile import read_key, write_key
    from watermark.keys import MasterKey, derive

    source = read_key(file)
    given = {"scheme": scheme, "width": width, "shares": shares}
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        beacon_value = bytes.fromhex(beacon)
    except ValueError:
        raise click.UsageError("--beacon is not hexadecimal") from None
    if not isinstance(source, MasterKey) and (chosen or beacon_value):
        name = [*chosen, "beacon"][0]
        raise click.UsageError(f"--{name} cannot be chosen here: {file} brings its own")
    deployment = Deployment.parse(**chosen) if isinstance(source, MasterKey) else None  # type: ignore[arg-type]
    derived = derive(source, path, deployment=deployment, beacon=beacon_value)
    write_key(derived, output)
    click.echo(derived.id)


@key.command()
@OUTPUT
def signer(output: str) -> None:
    """Make a key that signs evidence, and print its public half and what evidence calls it.

    The file is an Ed25519 private key in PEM, as openssl genpkey writes it. It has nothing to do with the keys that
    mark. Whoever checks evidence needs the public key, from you and not from the evidence.

    \b
    Example: radiolabel key signer -o signer.pem
    """
    from verify.evidence.signing import keyid, new_signer

    public = new_signer(output).public
    click.echo(f"public {public.hex()}\nkeyid {keyid(public)}")


@key.command("id")
@click.argument("file", type=click.Path())
def show_id(file: str) -> None:
    """Print the public id of a key file.

    \b
    Example: radiolabel key id fleet.key
    """
    from watermark.keyfile import read_key

    click.echo(read_key(file).id)
