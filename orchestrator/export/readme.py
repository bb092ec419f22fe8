"""What lies on top of an export for the person who opens it, in French and in English."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What both texts tell."""

    site: str
    incident: str
    tlp: str
    rehearsal: bool
    size: int
    root: str
    votes: int
    first_at: str
    last_at: str
    fingerprint: str  # of the site key, as ssh-keygen -l prints it


_FRENCH = """\
{mark}{tlp}
Restauration du site {site}, incident {incident} : export du journal

Période : {first_at} à {last_at} (UTC). {size} événements, {votes} votes signés.
Tête du journal : {size}:{root}
Clé du site : {fingerprint}

PAR OÙ COMMENCER
  chronology.csv      la chronologie, une ligne par événement (s'ouvre dans un tableur, ou dans Timesketch)
  events.jsonl        tous les événements, une ligne JSON canonique (RFC 8785) chacun : la source de tout le reste
  votes/              chaque vote : le texte exact qui a été signé, et sa signature ; votes/index.tsv en est la liste
  inventory/ policies/  l'inventaire et la politique à la date de l'export
  manifest.json       ce que contient l'export, avec l'empreinte SHA-256 de chaque fichier

VÉRIFIER, HORS LIGNE
  python3 verify.py --trusted-key CLE.pub [--known-head TAILLE:RACINE]     (Python seul, et ssh-keygen)
  sh verify.sh CLE.pub                                                     (sha256sum et ssh-keygen seuls)
La clé CLE.pub doit venir d'ailleurs que de cet export : du coffre, du journal papier, d'un export plus ancien.
Sans elle, le verdict est « cohérent, non ancré » : tout concorde, mais qui a fabriqué l'export a pu tout fabriquer.
Avec une tête de journal connue par ailleurs, une troncature ou une réécriture est trouvée même si la clé a fui.
Un vote, à la main (l'instant du vote est dans votes/index.tsv) :
  ssh-keygen -Y verify -f allowed_signers -I PERSONNE -n reconnect-approval@v1 \\
      -s votes/NNNNNN.sig -O verify-time=INSTANT < votes/NNNNNN.statement

CE QUE L'EXPORT NE PROUVE PAS
Aucune autorité d'horodatage extérieure n'a ancré ces événements : les heures sont celles de l'orchestrateur.
Cet export ne contient ni secret ni donnée de patient ; il nomme des personnes : respecter {tlp}.
"""

_ENGLISH = """\
{mark}{tlp}
Restoration of the site {site}, incident {incident}: export of the log

Period: {first_at} to {last_at} (UTC). {size} events, {votes} signed votes.
Head of the log: {size}:{root}
Site key: {fingerprint}

WHERE TO BEGIN
  chronology.csv      the chronology, one row per event (opens in a spreadsheet, or in Timesketch)
  events.jsonl        every event, one line of canonical JSON (RFC 8785) each: the source of everything else
  votes/              each vote: the exact text that was signed, and its signature; votes/index.tsv lists them
  inventory/ policies/  the inventory and the policy at the time of the export
  manifest.json       what the export holds, with the SHA-256 digest of each file

VERIFYING, OFFLINE
  python3 verify.py --trusted-key KEY.pub [--known-head SIZE:ROOT]         (Python alone, and ssh-keygen)
  sh verify.sh KEY.pub                                                     (sha256sum and ssh-keygen alone)
KEY.pub must come from elsewhere than this export: from the safe, the paper logbook, an older export.
Without it the verdict is "consistent, not anchored": it all fits, but whoever made the export could have made all of it.
With a head of the log that is known from elsewhere, a truncation or a rewriting is found even if the key has leaked.
One vote, by hand (the time of the vote is in votes/index.tsv):
  ssh-keygen -Y verify -f allowed_signers -I PERSON -n reconnect-approval@v1 \\
      -s votes/NNNNNN.sig -O verify-time=TIME < votes/NNNNNN.statement

WHAT THE EXPORT DOES NOT PROVE
No outside time-stamping authority has anchored these events: the times are those of the orchestrator.
This export holds no secrets and no patient data; it names persons: respect {tlp}.
"""


def french(facts: Facts) -> str:
    mark = "EXERCICE (REHEARSAL) : rien de ce qui suit n'est arrivé dans la réalité.\n" if facts.rehearsal else ""
    return _fill(_FRENCH, facts, mark)


def english(facts: Facts) -> str:
    return _fill(_ENGLISH, facts, "REHEARSAL: nothing of what follows has happened for real.\n" if facts.rehearsal else "")


def _fill(text: str, facts: Facts, mark: str) -> str:
    return text.format(
        mark=mark,
        tlp=facts.tlp,
        site=facts.site,
        incident=facts.incident or "-",
        size=facts.size,
        root=facts.root,
        votes=facts.votes,
        first_at=facts.first_at or "-",
        last_at=facts.last_at or "-",
        fingerprint=facts.fingerprint,
    )
