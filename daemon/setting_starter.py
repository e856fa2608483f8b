"""The file that `failoverd config init` writes: what nearly everybody has to say, commented, and nothing that acts by itself."""

STARTER = """\
# failoverd's configuration. What stands behind a '#' is switched off; every setting: failoverd config schema
#   failoverd config check THIS_FILE    is it right, and is it wise?
#   failoverd doctor --config THIS_FILE  do the provider, the database and the rest answer?
#   failoverd run --config THIS_FILE
# Secrets may come from elsewhere: FAILOVERD_VAST__API_KEY in the environment, or a systemd credential `vast__api_key`.

state_dir: var/failoverd            # the token, the SSH key and SQLite live here; one daemon at a time

# database: postgresql://failoverd:PASSWORD@127.0.0.1/failoverd    # else SQLite in state_dir

http:
  host: 127.0.0.1
  port: 8787

# kafka:                            # without a broker the log lives inside the daemon
#   bootstrap: 127.0.0.1:9092

vast:
  url: https://console.vast.ai
#   api_key: "..."                  # better: FAILOVERD_VAST__API_KEY

# agent:
#   url: https://failoverd.example.org    # this daemon, as a rented machine reaches it

# snapshots:                        # strategies cpu_standby and both restore from here
#   kind: s3
#   bucket: my-snapshots
#   access_key_id: "..."
#   secret_access_key: "..."        # better: FAILOVERD_SNAPSHOTS__SECRET_ACCESS_KEY
#   password: "..."                 # encrypts them; keep a copy of it elsewhere
#   every_s: 3600

# ssh:
#   witnesses: ["github.com:22"]    # must answer before a silent SSH port counts

# machines:
#   - id: 1
#     name: alpha
#     gpu_instance_id: 12345678     # as `vastai show instances` prints it
#     strategy: both                # warm_pool, then cpu_standby

policy:
  auto_failover: observe            # decide and tell, but do nothing; turn it `on` when what you are told convinces you
  max_price: 20.0                   # $/h that no replacement may exceed
  max_concurrent: 10                # automatic failovers at one time
#   max_spend: 50.0                 # $ a day that failovers may come to; without it there is no bound

# notify:
#   channels:
#     - {name: ops, kind: apprise, url: "ntfy://ntfy.sh/my-topic", level: warning}
#     - {name: pager, kind: pagerduty, routing_key: "...", level: critical}
#     - {name: program, kind: webhook, url: "https://example.org/hook", secret: "..."}
#   heartbeat_url: https://hc-ping.com/...    # fetched once a minute while the daemon works

log_format: console                 # or json
log_level: info
"""
