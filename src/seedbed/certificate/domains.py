"""Whether a model scores what its data are made of."""

from seedbed.certificate.check import Finding
from seedbed.certificate.subject import Probe, Subject, need
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError


def scores(subject: Subject) -> Finding:
    """The likelihood's domain is the data's."""
    domain = getattr(subject.model, "domain", None)
    need(isinstance(domain, Domain), "it does not say which domain it scores")
    assert isinstance(domain, Domain), "asked for above"
    try:
        domain.check(subject.data_domain, type(subject.model).__name__)
    except SeedbedError as error:
        return Finding(1.0, 0.0, str(error))
    return Finding(0.0, 0.0, f"it scores {domain} values, and the data are {subject.data_domain}")


PROBES = (Probe("domain", "the likelihood scores the data's domain", scores),)
