"""`radiolabel provision`: an engine's own configuration, with a key of our tree."""

from __future__ import annotations

import click

DEFAULTS = {"vllm": "vllm-gumbel", "sglang": "sglang-gumbel", "transformers": "synthid"}
USE = {
    "vllm": "vllm serve MODEL --config {file}",
    "sglang": "python -m sglang.launch_server --model-path MODEL --enable-watermark --watermark-config {file}",
    "synthid": "watermarking_config=SynthIDTextWatermarkingConfig.from_dict(json.load(open({file!r})))",
    "transformers-greenlist": "watermarking_config=WatermarkingConfig.from_dict(json.load(open({file!r})))",
}


@click.command()
@click.argument("key_file", metavar="KEYFILE", type=click.Path())
@click.option("--engine", required=True, type=click.Choice(list(DEFAULTS)), help="Which engine is to read it.")
@click.option("--scheme", help="Which of its marks.  [default: vllm-gumbel, sglang-gumbel or synthid]")
@click.option("-o", "--output", required=True, type=click.Path(), help="New file; never overwritten.")
def provision(key_file: str, engine: str, scheme: str | None, output: str) -> None:
    """Write an engine's own configuration, with a key derived from the epoch key in KEYFILE.

    For a provider who serves with the mark that an engine embeds itself: its key comes from our tree, so that it need
    not be kept anywhere else, and radiolabel verify --native-key reads the same file. The file has mode 0600, and
    the key stands on no command line. What each mark can carry is in docs/native.md: less than ours.

    \b
    Examples:
      radiolabel provision --engine vllm epoch.key -o watermark.yaml
      radiolabel provision --engine transformers --scheme transformers-greenlist epoch.key -o kgw.json
    """
    from watermark.keyfile import read_key
    from watermark.keys import EpochKey
    from watermark.native import mark_named
    from watermark.native.provisioning import provision as write

    mark, parameters = mark_named(scheme or DEFAULTS[engine])
    if mark.engine != engine or parameters:
        raise click.UsageError(f"{scheme} is not a mark of {engine}, or has parameters, which belong to verify")
    if engine == "vllm" and not output.endswith((".yaml", ".yml")):
        raise click.UsageError(f"{output}: vllm reads a configuration only if its name ends in .yaml or .yml")
    epoch = read_key(key_file)
    if not isinstance(epoch, EpochKey):
        raise click.UsageError(f"{key_file} is not an epoch key: derive one with radiolabel key derive")
    write(epoch, mark, output)
    use = USE.get(mark.name) or USE[engine]
    click.echo(
        f"{output} holds the key {epoch.path}/native/{mark.name}; use it as\n  {use.format(file=output)}", err=True
    )
