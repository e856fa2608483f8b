BEGIN TRANSACTION;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
INSERT INTO "alembic_version" VALUES('0021');
CREATE TABLE alerts (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	text TEXT NOT NULL, 
	opened_at DATETIME NOT NULL, 
	repeated_at DATETIME NOT NULL, 
	count INTEGER NOT NULL, 
	resolved_at DATETIME, 
	CONSTRAINT pk_alerts PRIMARY KEY (id)
);
CREATE TABLE attempts (
	failover_id TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	rung TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	code TEXT, 
	why TEXT, 
	CONSTRAINT pk_attempts PRIMARY KEY (failover_id, number), 
	CONSTRAINT fk_attempts_failover_id FOREIGN KEY(failover_id) REFERENCES failovers (id)
);
INSERT INTO "attempts" VALUES('fo_53kt5yiyqz',1,'cpu_standby','2026-01-01 00:02:05.036211',NULL,NULL,NULL);
CREATE TABLE audit (
	number INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	asked_by TEXT NOT NULL, 
	door TEXT NOT NULL, 
	what TEXT NOT NULL, 
	machine_id BIGINT, 
	subject TEXT, 
	reason TEXT, 
	detail JSON NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (number)
);
INSERT INTO "audit" VALUES(1,'2026-01-01 00:02:05.036211','an operator','http','failover',1,'fo_53kt5yiyqz','the simulation wants it','{"command_id":"op-1"}');
INSERT INTO "audit" VALUES(2,'2026-01-01 00:03:51.016055','an operator','http','cancel',1,'fo_53kt5yiyqz','the simulation wants it','{"command_id":"op-2"}');
CREATE TABLE beat_generations (
	machine_id BIGINT NOT NULL, 
	generation INTEGER NOT NULL, 
	CONSTRAINT pk_beat_generations PRIMARY KEY (machine_id)
);
CREATE TABLE charges (
	what TEXT NOT NULL, 
	id BIGINT NOT NULL, 
	month TEXT NOT NULL, 
	amount DOUBLE NOT NULL, 
	machine_id BIGINT, 
	read_at DATETIME NOT NULL, 
	CONSTRAINT pk_charges PRIMARY KEY (what, id, month)
);
CREATE TABLE commands (
	command_id TEXT NOT NULL, 
	door TEXT NOT NULL, 
	command TEXT NOT NULL, 
	machine_id BIGINT, 
	fingerprint TEXT NOT NULL, 
	body JSON NOT NULL, 
	received_at DATETIME NOT NULL, 
	expires_at DATETIME, 
	failover_id TEXT, 
	status TEXT NOT NULL, 
	answer JSON, 
	http_status INTEGER, 
	answered_at DATETIME, 
	asked_by TEXT, 
	CONSTRAINT pk_commands PRIMARY KEY (command_id)
);
INSERT INTO "commands" VALUES('op-1','http','failover',1,'fbcaf61aa77e93956a22b1cf2835d6c6205d4fc1dcd36c6a3b34dc730d12abb3','{"command":"failover","machine_id":1,"command_id":"op-1","reason":"the simulation wants it"}','2026-01-01 00:02:05.036211',NULL,'fo_53kt5yiyqz','accepted',NULL,NULL,NULL,'an operator');
INSERT INTO "commands" VALUES('op-2','http','cancel',1,'a16f4943657885e978d29dc8444997a835bd87cc2e25e2014fc05a296aba2498','{"command":"cancel","machine_id":1,"command_id":"op-2","reason":"the simulation wants it"}','2026-01-01 00:03:51.016055',NULL,'fo_53kt5yiyqz','accepted',NULL,NULL,NULL,'an operator');
CREATE TABLE debts (
	id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	machine_id BIGINT NOT NULL, 
	failover_id TEXT, 
	instance BIGINT, 
	label TEXT, 
	claimed_at DATETIME, 
	because TEXT NOT NULL, 
	tries INTEGER NOT NULL, 
	due_at DATETIME, 
	last_error TEXT, 
	volume BIGINT, 
	vm JSON, 
	key_id TEXT, 
	volume_row BIGINT, 
	reserved DOUBLE, 
	reserved_per_hour DOUBLE, 
	closed_at DATETIME, 
	outcome TEXT, 
	CONSTRAINT pk_debts PRIMARY KEY (id)
);
INSERT INTO "debts" VALUES(1,'destroy_claim',1,'fo_53kt5yiyqz',7003,'fo-hmvevw-m1-fo_53kt5yiyqz-a1-c1','2026-01-01 00:02:25.112068','candidate 1 is out: candidate 0 was first',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE deployment (
	one INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	CONSTRAINT pk_deployment PRIMARY KEY (one)
);
INSERT INTO "deployment" VALUES(1,'fo-hmvevw');
CREATE TABLE failovers (
	id TEXT NOT NULL, 
	machine_id BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	setting TEXT NOT NULL, 
	because TEXT NOT NULL, 
	asked_by TEXT NOT NULL, 
	command_id TEXT, 
	evidence JSON, 
	old_instance BIGINT, 
	running JSON NOT NULL, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	success BOOLEAN, 
	strategy_succeeded TEXT, 
	code TEXT, 
	why TEXT, 
	new JSON, 
	reserved DOUBLE, 
	reserved_per_hour DOUBLE, 
	spent DOUBLE, 
	acked_at DATETIME, 
	acked_by TEXT, 
	ack_comment TEXT, 
	CONSTRAINT pk_failovers PRIMARY KEY (id)
);
INSERT INTO "failovers" VALUES('fo_53kt5yiyqz',1,'http','cpu_standby','the simulation wants it','an operator','op-1',NULL,7001,'{"id":"fo_53kt5yiyqz","reason":"http","ladder":["cpu_standby"],"position":0,"started_at":"2026-01-01T00:02:05.036211Z","fence":1,"proof":{"grade":"stopped","proof":"our stop was accepted; read back: exited, intended stopped","at":"2026-01-01T00:02:22.189030Z"},"primary_was_alive":true,"cancel_asked":true,"primary_spoke":false,"attempt":1,"repeats":0,"wishes":null}','2026-01-01 00:02:05.036211',NULL,NULL,NULL,NULL,NULL,NULL,10.0,7.81789041095890424593e-01,NULL,NULL,NULL,NULL);
CREATE TABLE first_beats (
	instance_id BIGINT NOT NULL, 
	machine_id BIGINT NOT NULL, 
	boot_id TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	CONSTRAINT pk_first_beats PRIMARY KEY (instance_id)
);
CREATE TABLE fleet_settings (
	name TEXT NOT NULL, 
	value JSON NOT NULL, 
	said_by TEXT NOT NULL, 
	said_at DATETIME NOT NULL, 
	CONSTRAINT pk_fleet_settings PRIMARY KEY (name)
);
CREATE TABLE hosts (
	host BIGINT NOT NULL, 
	boots INTEGER NOT NULL, 
	dead_boots INTEGER NOT NULL, 
	deaths_in_a_row INTEGER NOT NULL, 
	last_boot_at DATETIME NOT NULL, 
	last_death_at DATETIME, 
	bad_until DATETIME, 
	CONSTRAINT pk_hosts PRIMARY KEY (host)
);
INSERT INTO "hosts" VALUES(366,1,0,0,'2026-01-01 00:03:50.999395',NULL,NULL);
CREATE TABLE journal (
	failover_id TEXT NOT NULL, 
	attempt INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	fence BIGINT NOT NULL, 
	step TEXT NOT NULL, 
	mark TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	candidate INTEGER NOT NULL, 
	output JSON NOT NULL, 
	code TEXT, 
	why TEXT, 
	until DATETIME, 
	CONSTRAINT pk_journal PRIMARY KEY (failover_id, attempt, seq), 
	CONSTRAINT fk_journal_failover_id FOREIGN KEY(failover_id) REFERENCES failovers (id)
);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,1,1,'choose_snapshot','started','2026-01-01 00:02:05.036211',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,2,1,'choose_snapshot','done','2026-01-01 00:02:06.367406',-1,'{"id":"3","machine":1,"taken_at":"2026-01-01T00:02:00Z","size_bytes":5805038769,"age_s":5.036211}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,3,1,'fence_primary','started','2026-01-01 00:02:06.367406',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,4,1,'fence_primary','waiting','2026-01-01 00:02:06.424924',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:06.474924');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,5,1,'fence_primary','started','2026-01-01 00:02:06.474924',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,6,1,'fence_primary','waiting','2026-01-01 00:02:07.479727',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:07.529727');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,7,1,'fence_primary','started','2026-01-01 00:02:07.529727',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,8,1,'fence_primary','waiting','2026-01-01 00:02:08.524607',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:08.574607');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,9,1,'fence_primary','started','2026-01-01 00:02:08.574607',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,10,1,'fence_primary','waiting','2026-01-01 00:02:09.563441',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:09.613441');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,11,1,'fence_primary','started','2026-01-01 00:02:09.613441',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,12,1,'fence_primary','waiting','2026-01-01 00:02:10.596764',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:10.646764');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,13,1,'fence_primary','started','2026-01-01 00:02:10.646764',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,14,1,'fence_primary','waiting','2026-01-01 00:02:11.685337',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:11.735337');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,15,1,'fence_primary','started','2026-01-01 00:02:11.735337',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,16,1,'fence_primary','waiting','2026-01-01 00:02:12.716985',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:12.766985');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,17,1,'fence_primary','started','2026-01-01 00:02:12.766985',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,18,1,'fence_primary','waiting','2026-01-01 00:02:13.767829',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:13.817829');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,19,1,'fence_primary','started','2026-01-01 00:02:13.817829',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,20,1,'fence_primary','waiting','2026-01-01 00:02:14.810457',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:14.860457');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,21,1,'fence_primary','started','2026-01-01 00:02:14.860457',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,22,1,'fence_primary','waiting','2026-01-01 00:02:15.853624',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:15.903624');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,23,1,'fence_primary','started','2026-01-01 00:02:15.903624',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,24,1,'fence_primary','waiting','2026-01-01 00:02:16.894398',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:16.944398');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,25,1,'fence_primary','started','2026-01-01 00:02:16.944398',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,26,1,'fence_primary','waiting','2026-01-01 00:02:17.989105',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:18.039105');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,27,1,'fence_primary','started','2026-01-01 00:02:18.039105',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,28,1,'fence_primary','waiting','2026-01-01 00:02:19.038086',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:19.088086');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,29,1,'fence_primary','started','2026-01-01 00:02:19.088086',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,30,1,'fence_primary','waiting','2026-01-01 00:02:20.081975',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:20.131975');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,31,1,'fence_primary','started','2026-01-01 00:02:20.131975',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,32,1,'fence_primary','waiting','2026-01-01 00:02:21.102693',-1,'{}',NULL,'our stop was accepted; it still reads running','2026-01-01 00:02:21.152693');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,33,1,'fence_primary','started','2026-01-01 00:02:21.152693',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,34,1,'fence_primary','done','2026-01-01 00:02:22.189030',-1,'{"grade":"stopped","proof":"our stop was accepted; read back: exited, intended stopped","at":"2026-01-01T00:02:22.189030Z"}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,35,1,'rent_candidate','started','2026-01-01 00:02:22.189030',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,36,1,'rent_candidate','claimed','2026-01-01 00:02:23.496891',0,'{"label":"fo-hmvevw-m1-fo_53kt5yiyqz-a1-c0","offer":{"id":385084,"host":366,"landlord":3,"gpu_name":"RTX 4090","num_gpus":1,"price_per_hour":0.3381972602739726,"reliability":0.9893,"region":"GB","bid":null},"claimed_at":"2026-01-01T00:02:23.496891Z","workload":{"image":"pytorch/pytorch:latest","disk_gb":32.0,"gpu_name":"RTX 4090","num_gpus":1,"env":{"FAILOVERD_MACHINE_ID":"1"},"onstart":"failoverd agent --machine-id 1 --interval 10 --kafka broker:9092 --detach\nserve","runtype":"ssh_direc ssh_proxy","image_login":null,"ssh_keys":[],"max_price":null,"region":null},"onstart":"# failoverd: this waits until the instance is its machine\nif [ -e \"$HOME/.failoverd/serve\" ]; then\nfailoverd agent --machine-id 1 --interval 10 --kafka broker:9092 --detach\nserve\nelse\nmkdir -p \"$HOME/.failoverd\" && touch \"$HOME/.failoverd/held\"\nfi\n","volume":null,"bid":null}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,37,1,'rent_candidate','rented','2026-01-01 00:02:25.112068',0,'{"instance":7002}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,38,1,'rent_candidate','claimed','2026-01-01 00:02:25.112068',1,'{"label":"fo-hmvevw-m1-fo_53kt5yiyqz-a1-c1","offer":{"id":385323,"host":397,"landlord":2,"gpu_name":"RTX 4090","num_gpus":1,"price_per_hour":0.33959589041095894,"reliability":0.9808,"region":"US","bid":null},"claimed_at":"2026-01-01T00:02:25.112068Z","workload":{"image":"pytorch/pytorch:latest","disk_gb":32.0,"gpu_name":"RTX 4090","num_gpus":1,"env":{"FAILOVERD_MACHINE_ID":"1"},"onstart":"failoverd agent --machine-id 1 --interval 10 --kafka broker:9092 --detach\nserve","runtype":"ssh_direc ssh_proxy","image_login":null,"ssh_keys":[],"max_price":null,"region":null},"onstart":"# failoverd: this waits until the instance is its machine\nif [ -e \"$HOME/.failoverd/serve\" ]; then\nfailoverd agent --machine-id 1 --interval 10 --kafka broker:9092 --detach\nserve\nelse\nmkdir -p \"$HOME/.failoverd\" && touch \"$HOME/.failoverd/held\"\nfi\n","volume":null,"bid":null}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,39,1,'rent_candidate','rented','2026-01-01 00:02:29.663334',1,'{"instance":7003}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,40,1,'rent_candidate','waiting','2026-01-01 00:02:29.663334',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:02:34.663334');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,41,1,'rent_candidate','started','2026-01-01 00:02:34.663334',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,42,1,'rent_candidate','waiting','2026-01-01 00:02:34.667620',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:02:39.667620');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,43,1,'rent_candidate','started','2026-01-01 00:02:39.667620',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,44,1,'rent_candidate','waiting','2026-01-01 00:02:39.713566',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:02:44.713566');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,45,1,'rent_candidate','started','2026-01-01 00:02:44.713566',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,46,1,'rent_candidate','waiting','2026-01-01 00:02:44.725462',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:02:49.725462');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,47,1,'rent_candidate','started','2026-01-01 00:02:49.725462',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,48,1,'rent_candidate','waiting','2026-01-01 00:02:49.770935',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:02:54.770935');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,49,1,'rent_candidate','started','2026-01-01 00:02:54.770935',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,50,1,'rent_candidate','waiting','2026-01-01 00:02:54.778737',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:02:59.778737');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,51,1,'rent_candidate','started','2026-01-01 00:02:59.778737',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,52,1,'rent_candidate','waiting','2026-01-01 00:02:59.826148',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:04.826148');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,53,1,'rent_candidate','started','2026-01-01 00:03:04.826148',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,54,1,'rent_candidate','waiting','2026-01-01 00:03:04.849607',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:09.849607');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,55,1,'rent_candidate','started','2026-01-01 00:03:09.849607',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,56,1,'rent_candidate','waiting','2026-01-01 00:03:09.871260',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:14.871260');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,57,1,'rent_candidate','started','2026-01-01 00:03:14.871260',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,58,1,'rent_candidate','waiting','2026-01-01 00:03:14.898368',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:19.898368');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,59,1,'rent_candidate','started','2026-01-01 00:03:19.898368',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,60,1,'rent_candidate','waiting','2026-01-01 00:03:19.918994',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:24.918994');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,61,1,'rent_candidate','started','2026-01-01 00:03:24.918994',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,62,1,'rent_candidate','waiting','2026-01-01 00:03:24.942339',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:29.942339');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,63,1,'rent_candidate','started','2026-01-01 00:03:29.942339',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,64,1,'rent_candidate','waiting','2026-01-01 00:03:29.953987',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:34.953987');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,65,1,'rent_candidate','started','2026-01-01 00:03:34.953987',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,66,1,'rent_candidate','waiting','2026-01-01 00:03:34.968340',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:39.968340');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,67,1,'rent_candidate','started','2026-01-01 00:03:39.968340',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,68,1,'rent_candidate','waiting','2026-01-01 00:03:40.147668',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:45.147668');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,69,1,'rent_candidate','started','2026-01-01 00:03:45.147668',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,70,1,'rent_candidate','waiting','2026-01-01 00:03:45.424180',-1,'{}',NULL,'2 of 2 candidates are coming up','2026-01-01 00:03:50.424180');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,71,1,'rent_candidate','started','2026-01-01 00:03:50.424180',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,72,1,'rent_candidate','dropped','2026-01-01 00:03:50.999395',1,'{}',NULL,'candidate 0 was first',NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,73,1,'rent_candidate','done','2026-01-01 00:03:50.999395',-1,'{"instance":7002,"label":"fo-hmvevw-m1-fo_53kt5yiyqz-a1-c0","host":366,"landlord":3,"ssh":{"host":"127.0.0.1","port":40023},"host_key":"ssh-ed25519 simulated-host-key-of-7002","gpu_name":"RTX 4090","price_per_hour":0.3381972602739726,"is_interruptible":false,"candidate":0}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,74,1,'restore','started','2026-01-01 00:03:50.999395',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,75,1,'restore','waiting','2026-01-01 00:03:51.016055',-1,'{}',NULL,'0 of 5805038769 bytes','2026-01-01 00:04:06.016055');
INSERT INTO "journal" VALUES('fo_53kt5yiyqz',1,76,1,'rent_candidate','undo_started','2026-01-01 00:03:51.016055',-1,'{}',NULL,NULL,NULL);
CREATE TABLE leases (
	name TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	renewals BIGINT NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('fleet','replica-0',68);
INSERT INTO "leases" VALUES('fo_53kt5yiyqz','replica-0',32);
CREATE TABLE lost_things (
	kind TEXT NOT NULL, 
	id TEXT NOT NULL, 
	standing TEXT NOT NULL, 
	label TEXT NOT NULL, 
	machine_id BIGINT, 
	price_per_hour DOUBLE, 
	size_gb DOUBLE, 
	detail TEXT NOT NULL, 
	first_seen_at DATETIME NOT NULL, 
	CONSTRAINT pk_lost_things PRIMARY KEY (kind, id)
);
CREATE TABLE machines (
	id BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	state TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	setting TEXT NOT NULL, 
	mode TEXT NOT NULL, 
	priority BIGINT NOT NULL, 
	primary_instance BIGINT, 
	host BIGINT, 
	landlord BIGINT, 
	is_interruptible BOOLEAN NOT NULL, 
	ssh JSON, 
	host_key TEXT, 
	workspace_path TEXT NOT NULL, 
	workload JSON NOT NULL, 
	heartbeat_partition INTEGER, 
	interval_s DOUBLE NOT NULL, 
	boot_id TEXT NOT NULL, 
	last_sequence BIGINT, 
	because TEXT NOT NULL, 
	since DATETIME, 
	evidence JSON, 
	look_at DATETIME, 
	failover_id TEXT, 
	last_failover TEXT, 
	price_per_hour DOUBLE, 
	volume JSON, 
	standby JSON, 
	cpu_standby JSON, 
	warm_pool JSON, 
	hold JSON, 
	queued_at DATETIME, 
	queue_asked_at DATETIME, 
	waits_for TEXT, 
	suspicions JSON, 
	registered JSON, 
	beat_generation INTEGER, 
	own JSON, 
	rest JSON, 
	observed_at DATETIME, 
	CONSTRAINT pk_machines PRIMARY KEY (id)
);
INSERT INTO "machines" VALUES(1,'machine-1','cpu_standby_attempt',5,1,'cpu_standby','on',1,7001,178,3,0,'{"host":"127.0.0.1","port":40022}',NULL,'/workspace','{"image":"pytorch/pytorch:latest","disk_gb":32.0,"gpu_name":"RTX 4090","num_gpus":1,"env":{"FAILOVERD_MACHINE_ID":"1"},"onstart":"failoverd agent --machine-id 1 --interval 10 --kafka broker:9092 --detach\nserve","runtype":"ssh_direc ssh_proxy","image_login":null,"ssh_keys":[],"max_price":null,"region":null}',0,10.0,'fwyf4hcg3smj',NULL,'admitted, and this strategy is next (http: an operator named its instance)','2026-01-01 00:02:05.036211',NULL,NULL,'fo_53kt5yiyqz',NULL,3.90894520547945212296e-01,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"at":"2026-01-01T00:00:00.606316Z","fence":0}',0,'{"values":{},"inherits":[],"from_file":[],"said":["auto_failover","priority","strategy"]}',NULL,NULL);
CREATE TABLE notifications (
	id INTEGER NOT NULL, 
	channel TEXT NOT NULL, 
	keys JSON NOT NULL, 
	ref TEXT NOT NULL, 
	level INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	opened_at DATETIME NOT NULL, 
	owed TEXT, 
	told_at DATETIME, 
	due_at DATETIME, 
	tries INTEGER NOT NULL, 
	last_error TEXT, 
	ended_at DATETIME, 
	is_summary BOOLEAN NOT NULL, 
	CONSTRAINT pk_notifications PRIMARY KEY (id)
);
CREATE TABLE outbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	topic TEXT NOT NULL, 
	"key" BLOB, 
	value BLOB, 
	headers JSON NOT NULL, 
	log_partition INTEGER, 
	sent_at DATETIME
);
INSERT INTO "outbox" VALUES(1,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A302C226E616D65223A226D616368696E652D31222C227374617465223A226865616C746879222C2262656361757365223A227265676973746572656420627920697473206669727374206865617274626561742C20696E206F627365727665206D6F64653B20616E206F70657261746F72206D757374206E616D652069747320696E7374616E6365222C2273696E6365223A22323032362D30312D30315430303A30303A30302E3630363331362B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F627365727665222C226770755F696E7374616E63655F6964223A6E756C6C2C227373685F686F7374223A6E756C6C2C227373685F706F7274223A6E756C6C2C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjA="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMDowMC42MDYzMTYrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:00:05.000000');
INSERT INTO "outbox" VALUES(2,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A302C226E616D65223A226D616368696E652D31222C227374617465223A226865616C746879222C2262656361757365223A227265676973746572656420627920697473206669727374206865617274626561742C20696E206F627365727665206D6F64653B20616E206F70657261746F72206D757374206E616D652069747320696E7374616E6365222C2273696E6365223A22323032362D30312D30315430303A30303A30302E3630363331362B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F627365727665222C226770755F696E7374616E63655F6964223A6E756C6C2C227373685F686F7374223A6E756C6C2C227373685F706F7274223A6E756C6C2C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjAtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMDowMC42MDYzMTYrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:00:05.000000');
INSERT INTO "outbox" VALUES(3,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A312C226E616D65223A226D616368696E652D31222C227374617465223A226865616C746879222C2262656361757365223A22616E206F70657261746F72206E616D65642069747320696E7374616E6365222C2273696E6365223A22323032362D30312D30315430303A30303A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMDowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:00:10.000000');
INSERT INTO "outbox" VALUES(4,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A312C226E616D65223A226D616368696E652D31222C227374617465223A226865616C746879222C2262656361757365223A22616E206F70657261746F72206E616D65642069747320696E7374616E6365222C2273696E6365223A22323032362D30312D30315430303A30303A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjEtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMDowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:00:10.000000');
INSERT INTO "outbox" VALUES(5,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A322C226E616D65223A226D616368696E652D31222C227374617465223A226865616C746879222C2262656361757365223A22616E206F70657261746F72206E616D65642069747320696E7374616E6365222C2273696E6365223A22323032362D30312D30315430303A30303A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjItc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMDowNi42Njk0NzkrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:00:10.000000');
INSERT INTO "outbox" VALUES(6,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F35336B7435796979717A222C226D616368696E655F6964223A312C2277686174223A22626567616E222C2274726967676572223A2268747470222C2266656E6365223A312C227374726174656779223A226370755F7374616E646279222C2273756363657373223A6E756C6C2C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B7D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTNrdDV5aXlxei1iZWdhbi0w"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(7,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A332C226E616D65223A226D616368696E652D31222C227374617465223A226370755F7374616E6462795F617474656D7074222C2262656361757365223A2261646D69747465642C20616E642074686973207374726174656779206973206E6578742028687474703A20616E206F70657261746F72206E616D65642069747320696E7374616E636529222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A226865616C746879222C2266656E6365223A312C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F35336B7435796979717A222C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjM="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(8,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A332C226E616D65223A226D616368696E652D31222C227374617465223A226370755F7374616E6462795F617474656D7074222C2262656361757365223A2261646D69747465642C20616E642074686973207374726174656779206973206E6578742028687474703A20616E206F70657261746F72206E616D65642069747320696E7374616E636529222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A226865616C746879222C2266656E6365223A312C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F35336B7435796979717A222C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjMtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(9,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F35336B7435796979717A222C226D616368696E655F6964223A312C2277686174223A22617474656D70745F626567616E222C2274726967676572223A2268747470222C2266656E6365223A312C227374726174656779223A226370755F7374616E646279222C2273756363657373223A6E756C6C2C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B7D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTNrdDV5aXlxei1hdHRlbXB0X2JlZ2FuLTE="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(10,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A342C226E616D65223A226D616368696E652D31222C227374617465223A226370755F7374616E6462795F617474656D7074222C2262656361757365223A2261646D69747465642C20616E642074686973207374726174656779206973206E6578742028687474703A20616E206F70657261746F72206E616D65642069747320696E7374616E636529222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A312C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F35336B7435796979717A222C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjQtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjoyMi4xODkwMzArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:25.000000');
INSERT INTO "outbox" VALUES(11,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F35336B7435796979717A222C226D616368696E655F6964223A312C2277686174223A2266656E636564222C2274726967676572223A2268747470222C2266656E6365223A312C227374726174656779223A226370755F7374616E646279222C2273756363657373223A6E756C6C2C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B226772616465223A2273746F70706564222C2270726F6F66223A226F75722073746F70207761732061636365707465643B2072656164206261636B3A206578697465642C20696E74656E6465642073746F70706564227D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTNrdDV5aXlxei1mZW5jZWQtMA=="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMjoyMi4xODkwMzArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:25.000000');
INSERT INTO "outbox" VALUES(12,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A352C226E616D65223A226D616368696E652D31222C227374617465223A226370755F7374616E6462795F617474656D7074222C2262656361757365223A2261646D69747465642C20616E642074686973207374726174656779206973206E6578742028687474703A20616E206F70657261746F72206E616D65642069747320696E7374616E636529222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A312C227374726174656779223A226370755F7374616E646279222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F35336B7435796979717A222C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjUtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMzo1MS4wMTYwNTUrMDA6MDA="],["ce_subject","MQ=="]]',NULL,NULL);
CREATE TABLE pauses (
	one INTEGER NOT NULL, 
	reason TEXT, 
	until DATETIME, 
	"by" TEXT, 
	budget_from DATETIME, 
	storm_since DATETIME, 
	storm_seen_at DATETIME, 
	CONSTRAINT pk_pauses PRIMARY KEY (one)
);
INSERT INTO "pauses" VALUES(1,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE regional_volumes (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	region TEXT NOT NULL, 
	size_gb INTEGER NOT NULL, 
	status TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	handle BIGINT, 
	volume BIGINT, 
	name TEXT, 
	machine_id BIGINT, 
	host BIGINT, 
	label TEXT, 
	price_per_month DOUBLE, 
	replica_of BIGINT, 
	copied_from BIGINT, 
	copied_at DATETIME, 
	seen JSON NOT NULL, 
	command_id TEXT
);
CREATE TABLE rentals (
	instance_id BIGINT NOT NULL, 
	machine_id BIGINT NOT NULL, 
	failover_id TEXT, 
	was_primary BOOLEAN NOT NULL, 
	known_at DATETIME NOT NULL, 
	CONSTRAINT pk_rentals PRIMARY KEY (instance_id)
);
INSERT INTO "rentals" VALUES(7001,1,NULL,1,'2026-01-01 00:00:05.036211');
INSERT INTO "rentals" VALUES(7002,1,'fo_53kt5yiyqz',0,'2026-01-01 00:02:25.112068');
INSERT INTO "rentals" VALUES(7003,1,'fo_53kt5yiyqz',0,'2026-01-01 00:02:29.663334');
CREATE TABLE snapshot_grants (
	machine_id BIGINT NOT NULL, 
	instance_id BIGINT NOT NULL, 
	fence BIGINT NOT NULL, 
	digest TEXT NOT NULL, 
	granted_at DATETIME NOT NULL, 
	key_id TEXT, 
	removed_at DATETIME, 
	CONSTRAINT pk_snapshot_grants PRIMARY KEY (machine_id)
);
CREATE TABLE tokens (
	number INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	scope TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	created_by TEXT NOT NULL, 
	machine_id BIGINT, 
	expires_at DATETIME, 
	last_used_at DATETIME, 
	revoked_at DATETIME, 
	revoked_by TEXT, 
	CONSTRAINT pk_tokens PRIMARY KEY (number), 
	CONSTRAINT uq_tokens_digest UNIQUE (digest)
);
CREATE TABLE turns (
	route TEXT NOT NULL, 
	free_at DOUBLE NOT NULL, 
	CONSTRAINT pk_turns PRIMARY KEY (route)
);
CREATE TABLE webhook_events (
	event_id TEXT NOT NULL, 
	received_at DATETIME NOT NULL, 
	CONSTRAINT pk_webhook_events PRIMARY KEY (event_id)
);
CREATE TABLE webhooks (
	url TEXT NOT NULL, 
	secret TEXT NOT NULL, 
	made_at DATETIME NOT NULL, 
	CONSTRAINT pk_webhooks PRIMARY KEY (url)
);
CREATE TABLE workspace_copies (
	machine_id BIGINT NOT NULL, 
	copy_id TEXT NOT NULL, 
	vm_id TEXT NOT NULL, 
	instance_id BIGINT NOT NULL, 
	taken_at DATETIME NOT NULL, 
	files BIGINT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	host_key TEXT NOT NULL, 
	CONSTRAINT pk_workspace_copies PRIMARY KEY (machine_id)
);
CREATE INDEX ix_machines_failover_id ON machines (failover_id) WHERE failover_id IS NOT NULL;
CREATE INDEX ix_machines_primary_instance ON machines (primary_instance) WHERE primary_instance IS NOT NULL;
CREATE INDEX ix_machines_state ON machines (state, id);
CREATE INDEX ix_failovers_unacknowledged ON failovers (ended_at) WHERE acked_at IS NULL;
CREATE INDEX ix_failovers_machine_id ON failovers (machine_id, started_at);
CREATE INDEX ix_failovers_started_at ON failovers (started_at, id);
CREATE UNIQUE INDEX uq_failovers_running ON failovers (machine_id) WHERE ended_at IS NULL;
CREATE INDEX ix_debts_due_at ON debts (due_at) WHERE closed_at IS NULL;
CREATE INDEX ix_debts_failover_id ON debts (failover_id);
CREATE INDEX ix_debts_machine_id ON debts (machine_id);
CREATE UNIQUE INDEX uq_regional_volumes_volume ON regional_volumes (volume) WHERE volume IS NOT NULL;
CREATE UNIQUE INDEX uq_regional_volumes_handle ON regional_volumes (handle) WHERE handle IS NOT NULL;
CREATE INDEX ix_regional_volumes_machine_id ON regional_volumes (machine_id);
CREATE INDEX ix_outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
CREATE INDEX ix_outbox_sent_at ON outbox (sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX ix_commands_failover_id ON commands (failover_id);
CREATE INDEX ix_commands_open ON commands (received_at) WHERE answered_at IS NULL;
CREATE UNIQUE INDEX uq_alerts_open ON alerts ("key") WHERE resolved_at IS NULL;
CREATE INDEX ix_notifications_live ON notifications (channel) WHERE ended_at IS NULL;
CREATE INDEX ix_notifications_opened_at ON notifications (opened_at);
CREATE INDEX ix_first_beats_machine_id ON first_beats (machine_id);
CREATE INDEX ix_webhook_events_received_at ON webhook_events (received_at);
CREATE INDEX ix_hosts_last_boot_at ON hosts (last_boot_at);
CREATE UNIQUE INDEX uq_tokens_unrevoked ON tokens (name) WHERE revoked_at IS NULL;
CREATE INDEX ix_audit_machine_id ON audit (machine_id, number);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',12);
COMMIT;
