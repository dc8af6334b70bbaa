"""Every chart of a report, by the name of its figure."""

from collections.abc import Mapping, Sequence

from seedbed.report.charts import Chart, bar_charts, bits_charts, curves_chart, intervals_chart, profiles_charts
from seedbed.report.curves import curve_groups, error_groups, information_groups, player_groups
from seedbed.report.ladders import bounds_chart, chains_chart, dimension_charts, energy_chart, sizes_chart
from seedbed.report.tables import Table
from seedbed.report.verdicts import Family


def charts_of(families: Sequence[Family], convergence: Table, colour: Mapping[str, int]) -> dict[str, list[Chart]]:
    """Every chart of a report by the name of its figure, one for each data set that has something to show.

    Args:
        families: the runs, compared.
        convergence: its table.
        colour: a colour's place per label.
    """
    tasks = [(family.group.task, family.group.runs, family.group.metric) for family in families]
    players = [(task, many) for task, runs, _ in tasks for many in player_groups(runs)]
    shown = {(task, many[0].metric) for task, many in players}
    told = [(task, many) for task, runs, _ in tasks for many in information_groups(runs)]
    groups = [(task, many) for task, runs, metric in tasks for many in curve_groups(runs, metric)]
    groups = [(task, many) for task, many in groups if (task, many[0].metric) not in shown]
    learnt = [(task, many) for task, runs, _ in tasks for many in error_groups(runs)]
    groups = [(task, many) for task, many in groups if (task, many[0].metric) not in {(t, m[0].metric) for t, m in learnt}]
    over = {"curves": groups, "players": players, "information": told, "errors": learnt}
    return {
        "intervals": [intervals_chart(family, colour) for family in families if family.ranked],
        "bounds": [chart for family in families if (chart := bounds_chart(family, colour)) is not None],
        "fid-by-size": [chart for family in families if (chart := sizes_chart(family, colour)) is not None],
        "by-dimension": dimension_charts(families, colour),
        "fid-along-chains": [chart for family in families if (chart := chains_chart(family, colour)) is not None],
        "energy-along-walks": [chart for family in families if (chart := energy_chart(family, colour)) is not None],
        "bits": [chart for family in families for chart in bits_charts(family, colour)],
        "profiles": profiles_charts(families, colour),
        **{
            f"{name}-{axis}": [curves_chart(many, along, colour, task) for task, many in found]
            for name, found in over.items()
            for axis, along in (("steps", "step"), ("time", "time"))
        },
        "convergence": bar_charts(convergence, colour),
    }
