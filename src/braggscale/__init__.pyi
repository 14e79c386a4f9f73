from braggscale.api import (
    Component as Component,
)
from braggscale.api import (
    Curve as Curve,
)
from braggscale.api import (
    Data as Data,
)
from braggscale.api import (
    MergedData as MergedData,
)
from braggscale.api import (
    ObservationTable as ObservationTable,
)
from braggscale.api import (
    Report as Report,
)
from braggscale.api import (
    Run as Run,
)
from braggscale.api import (
    read as read,
)
from braggscale.api import (
    scale as scale,
)
from braggscale.errors import (
    CommandError as CommandError,
)
from braggscale.errors import (
    DataError as DataError,
)
from braggscale.errors import (
    InputError as InputError,
)
from braggscale.errors import (
    OutputError as OutputError,
)
from braggscale.errors import (
    UserError as UserError,
)

__version__: str
