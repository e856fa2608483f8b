"""The strategies as the contract lists them: its own texts in Portuguese, and the same in English."""

from __future__ import annotations

import re
from typing import Any

_Q = re.compile(r"q\s*=\s*([01](?:\.[0-9]{0,3})?)", re.ASCII)

PORTUGUESE: tuple[dict[str, Any], ...] = (
    {
        "id": "warm_pool",
        "name": "GPU Warm Pool",
        "description": "Failover rápido (~30-60s) usando GPU standby no mesmo host",
        "recovery_time": "30-60 segundos",
        "cost": "Apenas armazenamento quando standby está parado",
        "requirements": ["Host com múltiplas GPUs", "Volume compartilhado VAST.ai"],
    },
    {
        "id": "cpu_standby",
        "name": "CPU Standby + Snapshot",
        "description": "Failover via snapshot e nova GPU (~10-20min)",
        "recovery_time": "10-20 minutos",
        "cost": "CPU standby no GCP + armazenamento de snapshots",
        "requirements": ["Credenciais GCP", "Bucket B2/S3 para snapshots"],
    },
    {
        "id": "both",
        "name": "Warm Pool + CPU Standby",
        "description": "Warm Pool como primário, CPU Standby como fallback",
        "recovery_time": "30-60s (warm pool) ou 10-20min (fallback)",
        "cost": "Combinado de ambas estratégias",
        "requirements": ["Requisitos de ambas estratégias"],
    },
    {
        "id": "regional_volume",
        "name": "Regional Volume Failover",
        "description": "Failover usando volume persistente regional (~30-60s)",
        "recovery_time": "30-60 segundos",
        "cost": "Volume regional (~$1-3/mês para 50GB)",
        "requirements": ["Volume VAST.ai na região", "GPUs disponíveis na mesma região"],
    },
    {
        "id": "disabled",
        "name": "Desabilitado",
        "description": "Nenhuma proteção de failover automático",
        "recovery_time": "Manual",
        "cost": "Nenhum",
        "requirements": [],
    },
)

ENGLISH: tuple[dict[str, Any], ...] = (
    {
        "id": "warm_pool",
        "name": "GPU Warm Pool",
        "description": "Fast failover (~30-60s) to a standby GPU on the same host",
        "recovery_time": "30-60 seconds",
        "cost": "Storage only while the standby is stopped",
        "requirements": ["A host with several GPUs", "A shared VAST.ai volume"],
    },
    {
        "id": "cpu_standby",
        "name": "CPU Standby + Snapshot",
        "description": "Failover by snapshot and a new GPU (~10-20min)",
        "recovery_time": "10-20 minutes",
        "cost": "CPU standby on GCP + storage of snapshots",
        "requirements": ["GCP credentials", "A B2/S3 bucket for snapshots"],
    },
    {
        "id": "both",
        "name": "Warm Pool + CPU Standby",
        "description": "Warm Pool first, CPU Standby as the fallback",
        "recovery_time": "30-60s (warm pool) or 10-20min (fallback)",
        "cost": "Both strategies combined",
        "requirements": ["The requirements of both strategies"],
    },
    {
        "id": "regional_volume",
        "name": "Regional Volume Failover",
        "description": "Failover by a persistent regional volume (~30-60s)",
        "recovery_time": "30-60 seconds",
        "cost": "Regional volume (~$1-3/month for 50GB)",
        "requirements": ["A VAST.ai volume in the region", "GPUs available in the same region"],
    },
    {
        "id": "disabled",
        "name": "Disabled",
        "description": "No automatic failover protection",
        "recovery_time": "Manual",
        "cost": "None",
        "requirements": [],
    },
)


def wants_english(accept_language: str | None) -> bool:
    """Does the header rank English above Portuguese? Whatever else it asks for gets the contract's own language."""
    ranks = {"en": 0.0, "pt": 0.0}
    for item in (accept_language or "").split(","):
        tag, _, weight = item.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language in ranks:
            found = _Q.fullmatch(weight.strip())
            rank = float(found[1]) if found is not None else 1.0
            ranks[language] = max(ranks[language], rank)
    return ranks["en"] > ranks["pt"]
