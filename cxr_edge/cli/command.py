"""A command that notices an option whose value was forgotten."""

from typing import Any

from typer.core import TyperCommand

from cxr_edge.errors import UsageError


class Command(TyperCommand):
    """As Typer's, but `--pdf --language es` does not make a folder of the name --language."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own types are private
        """Run the command.

        Raises:
            UsageError: an option's value is the name of another option.
        """
        options = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        names = {name for param in options for name in param.opts}
        for param in options:
            value = ctx.params.get(param.name or "")
            for text in map(str, value if isinstance(value, list | tuple) else [value]):
                if text.partition("=")[0] in names:
                    message = f"{param.opts[0]} has no value: {text} is an option; if it is meant, write ./{text}"
                    raise UsageError(message)
        return super().invoke(ctx)
