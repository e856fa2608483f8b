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
INSERT INTO "attempts" VALUES('fo_54g6zyqdkh',1,'repair_primary','2026-01-01 00:02:44.100000','2026-01-01 00:03:05.129505','primary_not_restartable','the container exited again after its reboot');
INSERT INTO "attempts" VALUES('fo_54g6zyqdkh',2,'warm_pool','2026-01-01 00:03:05.129505','2026-01-01 00:03:51.135316',NULL,NULL);
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
INSERT INTO "audit" VALUES(1,'2026-01-01 00:02:44.100000','failoverd','daemon','failover',1,'fo_54g6zyqdkh','silent, and for 30 s the provider says: status exited, intended running (success, running pytorch/pytorch:latest/ssh)','{}');
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
INSERT INTO "debts" VALUES(1,'destroy_instance',1,'fo_54g6zyqdkh',7001,NULL,NULL,'replaced by failover fo_54g6zyqdkh',0,'2026-01-01 00:03:51.135316',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "debts" VALUES(2,'rearm',1,'fo_54g6zyqdkh',NULL,NULL,NULL,'its standby became the machine by failover fo_54g6zyqdkh',0,'2026-01-01 00:03:51.135316',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "failovers" VALUES('fo_54g6zyqdkh',1,'heartbeat_lost','warm_pool','silent, and for 30 s the provider says: status exited, intended running (success, running pytorch/pytorch:latest/ssh)','failoverd',NULL,'{"instance":7001,"testimonies":[{"source":"provider","word":"crashed","detail":"status exited, intended running (success, running pytorch/pytorch:latest/ssh)","at":"2026-01-01T00:02:40Z"},{"source":"ssh","word":"unknown","detail":"the SSH port is refused, but no other host answered us","at":"2026-01-01T00:02:44.100000Z"}],"at":"2026-01-01T00:02:44.100000Z","dead_since":"2026-01-01T00:02:05.136211Z","rounds":6}',7001,'{"id":"fo_54g6zyqdkh","reason":"heartbeat_lost","ladder":["repair_primary","warm_pool"],"position":1,"started_at":"2026-01-01T00:02:44.100000Z","fence":1,"proof":{"grade":"stopped","proof":"our stop was accepted; read back: exited, intended stopped","at":"2026-01-01T00:03:05.200153Z"},"primary_was_alive":false,"cancel_asked":false,"primary_spoke":false,"attempt":2,"repeats":0,"wishes":null}','2026-01-01 00:02:44.100000','2026-01-01 00:03:51.135316',1,'warm_pool',NULL,NULL,'{"instance":7002,"label":"machine-1-standby","host":178,"landlord":3,"ssh":{"host":"127.0.0.1","port":40023},"host_key":"ssh-ed25519 simulated-host-key-of-7002","gpu_name":"RTX 4090","price_per_hour":0.3908945205479452,"boot_id":"35c5cfpq8nvs","data_age_s":0.0,"is_interruptible":false,"has_volume":true,"volume":null,"workspace_path":null,"detail":{}}',10.0,7.81789041095890424593e-01,0.0,NULL,NULL,NULL);
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
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,1,1,'note_boot','started','2026-01-01 00:02:44.100000',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,2,1,'note_boot','done','2026-01-01 00:02:44.100000',-1,'{"boot_ids":["fwyf4hcg3smj"]}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,3,1,'reboot','started','2026-01-01 00:02:44.100000',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,4,1,'reboot','done','2026-01-01 00:02:44.110758',-1,'{"instance":7001,"boot_id_before":"fwyf4hcg3smj"}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,5,1,'await_heartbeat','started','2026-01-01 00:02:44.110758',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,6,1,'await_heartbeat','waiting','2026-01-01 00:02:44.157853',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:44.207853');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,7,1,'await_heartbeat','started','2026-01-01 00:02:44.207853',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,8,1,'await_heartbeat','waiting','2026-01-01 00:02:45.168618',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:45.218618');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,9,1,'await_heartbeat','started','2026-01-01 00:02:45.218618',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,10,1,'await_heartbeat','waiting','2026-01-01 00:02:46.225935',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:46.275935');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,11,1,'await_heartbeat','started','2026-01-01 00:02:46.275935',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,12,1,'await_heartbeat','waiting','2026-01-01 00:02:47.277201',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:47.327201');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,13,1,'await_heartbeat','started','2026-01-01 00:02:47.327201',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,14,1,'await_heartbeat','waiting','2026-01-01 00:02:48.315044',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:48.365044');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,15,1,'await_heartbeat','started','2026-01-01 00:02:48.365044',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,16,1,'await_heartbeat','waiting','2026-01-01 00:02:49.406704',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:49.456704');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,17,1,'await_heartbeat','started','2026-01-01 00:02:49.456704',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,18,1,'await_heartbeat','waiting','2026-01-01 00:02:50.410877',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:50.460877');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,19,1,'await_heartbeat','started','2026-01-01 00:02:50.460877',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,20,1,'await_heartbeat','waiting','2026-01-01 00:02:51.472654',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:51.522654');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,21,1,'await_heartbeat','started','2026-01-01 00:02:51.522654',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,22,1,'await_heartbeat','waiting','2026-01-01 00:02:52.556230',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:52.606230');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,23,1,'await_heartbeat','started','2026-01-01 00:02:52.606230',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,24,1,'await_heartbeat','waiting','2026-01-01 00:02:53.568559',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:53.618559');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,25,1,'await_heartbeat','started','2026-01-01 00:02:53.618559',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,26,1,'await_heartbeat','waiting','2026-01-01 00:02:54.658169',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:54.708169');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,27,1,'await_heartbeat','started','2026-01-01 00:02:54.708169',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,28,1,'await_heartbeat','waiting','2026-01-01 00:02:55.681349',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:55.731349');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,29,1,'await_heartbeat','started','2026-01-01 00:02:55.731349',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,30,1,'await_heartbeat','waiting','2026-01-01 00:02:56.734217',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:56.784217');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,31,1,'await_heartbeat','started','2026-01-01 00:02:56.784217',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,32,1,'await_heartbeat','waiting','2026-01-01 00:02:57.782410',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:57.832410');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,33,1,'await_heartbeat','started','2026-01-01 00:02:57.832410',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,34,1,'await_heartbeat','waiting','2026-01-01 00:02:58.837866',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:58.887866');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,35,1,'await_heartbeat','started','2026-01-01 00:02:58.887866',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,36,1,'await_heartbeat','waiting','2026-01-01 00:02:59.881383',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:02:59.931383');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,37,1,'await_heartbeat','started','2026-01-01 00:02:59.931383',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,38,1,'await_heartbeat','waiting','2026-01-01 00:03:00.934103',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:03:00.984103');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,39,1,'await_heartbeat','started','2026-01-01 00:03:00.984103',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,40,1,'await_heartbeat','waiting','2026-01-01 00:03:01.975110',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:03:02.025110');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,41,1,'await_heartbeat','started','2026-01-01 00:03:02.025110',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,42,1,'await_heartbeat','waiting','2026-01-01 00:03:03.048495',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:03:03.098495');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,43,1,'await_heartbeat','started','2026-01-01 00:03:03.098495',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,44,1,'await_heartbeat','waiting','2026-01-01 00:03:04.102348',-1,'{}',NULL,'the rebooted primary has not spoken yet; it does not read exited any more','2026-01-01 00:03:04.152348');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,45,1,'await_heartbeat','started','2026-01-01 00:03:04.152348',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',1,46,1,'await_heartbeat','refused','2026-01-01 00:03:05.129505',-1,'{}','primary_not_restartable','the container exited again after its reboot',NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,1,1,'check_standby','started','2026-01-01 00:03:05.129505',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,2,1,'check_standby','done','2026-01-01 00:03:05.129505',-1,'{"standby":7002,"volume":881}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,3,1,'fence_primary','started','2026-01-01 00:03:05.129505',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,4,1,'fence_primary','done','2026-01-01 00:03:05.200153',-1,'{"grade":"stopped","proof":"our stop was accepted; read back: exited, intended stopped","at":"2026-01-01T00:03:05.200153Z"}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,5,1,'start_standby','started','2026-01-01 00:03:05.200153',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,6,1,'start_standby','done','2026-01-01 00:03:06.185369',-1,'{"instance":7002}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,7,1,'await_running','started','2026-01-01 00:03:06.185369',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,8,1,'await_running','waiting','2026-01-01 00:03:06.188507',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:06.238507');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,9,1,'await_running','started','2026-01-01 00:03:06.238507',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,10,1,'await_running','waiting','2026-01-01 00:03:07.274151',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:07.324151');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,11,1,'await_running','started','2026-01-01 00:03:07.324151',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,12,1,'await_running','waiting','2026-01-01 00:03:08.318664',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:08.368664');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,13,1,'await_running','started','2026-01-01 00:03:08.368664',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,14,1,'await_running','waiting','2026-01-01 00:03:09.352029',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:09.402029');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,15,1,'await_running','started','2026-01-01 00:03:09.402029',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,16,1,'await_running','waiting','2026-01-01 00:03:10.418399',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:10.468399');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,17,1,'await_running','started','2026-01-01 00:03:10.468399',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,18,1,'await_running','waiting','2026-01-01 00:03:11.458496',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:11.508496');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,19,1,'await_running','started','2026-01-01 00:03:11.508496',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,20,1,'await_running','waiting','2026-01-01 00:03:12.490763',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:12.540763');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,21,1,'await_running','started','2026-01-01 00:03:12.540763',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,22,1,'await_running','waiting','2026-01-01 00:03:13.568449',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:13.618449');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,23,1,'await_running','started','2026-01-01 00:03:13.618449',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,24,1,'await_running','waiting','2026-01-01 00:03:14.595350',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:14.645350');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,25,1,'await_running','started','2026-01-01 00:03:14.645350',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,26,1,'await_running','waiting','2026-01-01 00:03:15.669460',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:15.719460');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,27,1,'await_running','started','2026-01-01 00:03:15.719460',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,28,1,'await_running','waiting','2026-01-01 00:03:16.729616',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:16.779616');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,29,1,'await_running','started','2026-01-01 00:03:16.779616',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,30,1,'await_running','waiting','2026-01-01 00:03:17.753090',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:17.803090');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,31,1,'await_running','started','2026-01-01 00:03:17.803090',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,32,1,'await_running','waiting','2026-01-01 00:03:18.807038',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:18.857038');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,33,1,'await_running','started','2026-01-01 00:03:18.857038',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,34,1,'await_running','waiting','2026-01-01 00:03:19.843162',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:19.893162');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,35,1,'await_running','started','2026-01-01 00:03:19.893162',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,36,1,'await_running','waiting','2026-01-01 00:03:20.923893',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:20.973893');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,37,1,'await_running','started','2026-01-01 00:03:20.973893',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,38,1,'await_running','waiting','2026-01-01 00:03:21.977486',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:22.027486');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,39,1,'await_running','started','2026-01-01 00:03:22.027486',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,40,1,'await_running','waiting','2026-01-01 00:03:23.024283',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:23.074283');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,41,1,'await_running','started','2026-01-01 00:03:23.074283',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,42,1,'await_running','waiting','2026-01-01 00:03:24.052667',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:24.102667');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,43,1,'await_running','started','2026-01-01 00:03:24.102667',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,44,1,'await_running','waiting','2026-01-01 00:03:25.097983',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:25.147983');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,45,1,'await_running','started','2026-01-01 00:03:25.147983',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,46,1,'await_running','waiting','2026-01-01 00:03:26.173684',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:26.223684');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,47,1,'await_running','started','2026-01-01 00:03:26.223684',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,48,1,'await_running','waiting','2026-01-01 00:03:27.201409',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:27.251409');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,49,1,'await_running','started','2026-01-01 00:03:27.251409',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,50,1,'await_running','waiting','2026-01-01 00:03:28.259144',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:28.309144');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,51,1,'await_running','started','2026-01-01 00:03:28.309144',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,52,1,'await_running','waiting','2026-01-01 00:03:29.332632',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:29.382632');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,53,1,'await_running','started','2026-01-01 00:03:29.382632',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,54,1,'await_running','waiting','2026-01-01 00:03:30.355553',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:30.405553');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,55,1,'await_running','started','2026-01-01 00:03:30.405553',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,56,1,'await_running','waiting','2026-01-01 00:03:31.418214',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:31.468214');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,57,1,'await_running','started','2026-01-01 00:03:31.468214',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,58,1,'await_running','waiting','2026-01-01 00:03:32.469803',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:32.519803');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,59,1,'await_running','started','2026-01-01 00:03:32.519803',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,60,1,'await_running','waiting','2026-01-01 00:03:33.498157',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:33.548157');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,61,1,'await_running','started','2026-01-01 00:03:33.548157',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,62,1,'await_running','waiting','2026-01-01 00:03:34.564127',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:34.614127');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,63,1,'await_running','started','2026-01-01 00:03:34.614127',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,64,1,'await_running','waiting','2026-01-01 00:03:35.630393',-1,'{}',NULL,'the standby reads exited','2026-01-01 00:03:35.680393');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,65,1,'await_running','started','2026-01-01 00:03:35.680393',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,66,1,'await_running','waiting','2026-01-01 00:03:36.809623',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:37.059623');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,67,1,'await_running','started','2026-01-01 00:03:37.059623',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,68,1,'await_running','waiting','2026-01-01 00:03:37.207385',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:37.457385');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,69,1,'await_running','started','2026-01-01 00:03:37.457385',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,70,1,'await_running','waiting','2026-01-01 00:03:37.559192',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:37.809192');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,71,1,'await_running','started','2026-01-01 00:03:37.809192',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,72,1,'await_running','waiting','2026-01-01 00:03:37.943252',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:38.193252');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,73,1,'await_running','started','2026-01-01 00:03:38.193252',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,74,1,'await_running','waiting','2026-01-01 00:03:38.333865',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:38.583865');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,75,1,'await_running','started','2026-01-01 00:03:38.583865',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,76,1,'await_running','waiting','2026-01-01 00:03:38.713516',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:38.963516');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,77,1,'await_running','started','2026-01-01 00:03:38.963516',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,78,1,'await_running','waiting','2026-01-01 00:03:39.100502',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:39.350502');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,79,1,'await_running','started','2026-01-01 00:03:39.350502',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,80,1,'await_running','waiting','2026-01-01 00:03:39.499235',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:39.749235');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,81,1,'await_running','started','2026-01-01 00:03:39.749235',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,82,1,'await_running','waiting','2026-01-01 00:03:39.892399',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:40.142399');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,83,1,'await_running','started','2026-01-01 00:03:40.142399',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,84,1,'await_running','waiting','2026-01-01 00:03:40.281517',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:40.531517');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,85,1,'await_running','started','2026-01-01 00:03:40.531517',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,86,1,'await_running','waiting','2026-01-01 00:03:40.659532',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:40.909532');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,87,1,'await_running','started','2026-01-01 00:03:40.909532',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,88,1,'await_running','waiting','2026-01-01 00:03:41.030802',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:41.280802');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,89,1,'await_running','started','2026-01-01 00:03:41.280802',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,90,1,'await_running','waiting','2026-01-01 00:03:41.413791',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:41.663791');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,91,1,'await_running','started','2026-01-01 00:03:41.663791',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,92,1,'await_running','waiting','2026-01-01 00:03:41.812575',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:42.062575');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,93,1,'await_running','started','2026-01-01 00:03:42.062575',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,94,1,'await_running','waiting','2026-01-01 00:03:42.189065',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:42.439065');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,95,1,'await_running','started','2026-01-01 00:03:42.439065',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,96,1,'await_running','waiting','2026-01-01 00:03:42.581998',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:42.831998');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,97,1,'await_running','started','2026-01-01 00:03:42.831998',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,98,1,'await_running','waiting','2026-01-01 00:03:42.962599',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:43.212599');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,99,1,'await_running','started','2026-01-01 00:03:43.212599',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,100,1,'await_running','waiting','2026-01-01 00:03:43.334189',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:43.584189');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,101,1,'await_running','started','2026-01-01 00:03:43.584189',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,102,1,'await_running','waiting','2026-01-01 00:03:43.697463',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:43.947463');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,103,1,'await_running','started','2026-01-01 00:03:43.947463',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,104,1,'await_running','waiting','2026-01-01 00:03:44.124615',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:44.374615');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,105,1,'await_running','started','2026-01-01 00:03:44.374615',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,106,1,'await_running','waiting','2026-01-01 00:03:44.488465',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:44.738465');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,107,1,'await_running','started','2026-01-01 00:03:44.738465',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,108,1,'await_running','waiting','2026-01-01 00:03:44.860509',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:45.110509');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,109,1,'await_running','started','2026-01-01 00:03:45.110509',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,110,1,'await_running','waiting','2026-01-01 00:03:45.226668',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:45.476668');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,111,1,'await_running','started','2026-01-01 00:03:45.476668',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,112,1,'await_running','waiting','2026-01-01 00:03:45.604979',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:45.854979');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,113,1,'await_running','started','2026-01-01 00:03:45.854979',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,114,1,'await_running','waiting','2026-01-01 00:03:45.972761',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:46.222761');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,115,1,'await_running','started','2026-01-01 00:03:46.222761',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,116,1,'await_running','waiting','2026-01-01 00:03:46.356633',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:46.606633');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,117,1,'await_running','started','2026-01-01 00:03:46.606633',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,118,1,'await_running','waiting','2026-01-01 00:03:46.734896',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:46.984896');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,119,1,'await_running','started','2026-01-01 00:03:46.984896',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,120,1,'await_running','waiting','2026-01-01 00:03:47.142149',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:47.392149');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,121,1,'await_running','started','2026-01-01 00:03:47.392149',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,122,1,'await_running','waiting','2026-01-01 00:03:47.520277',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:47.770277');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,123,1,'await_running','started','2026-01-01 00:03:47.770277',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,124,1,'await_running','waiting','2026-01-01 00:03:47.916233',-1,'{}',NULL,'the standby runs: no SSH yet: 127.0.0.1:40023','2026-01-01 00:03:48.166233');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,125,1,'await_running','started','2026-01-01 00:03:48.166233',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,126,1,'await_running','done','2026-01-01 00:03:48.695627',-1,'{"instance":7002,"label":"machine-1-standby","host":178,"landlord":3,"ssh":{"host":"127.0.0.1","port":40023},"host_key":"ssh-ed25519 simulated-host-key-of-7002","gpu_name":"RTX 4090","price_per_hour":0.3908945205479452,"is_interruptible":false}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,127,1,'verify_workspace','started','2026-01-01 00:03:48.695627',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,128,1,'verify_workspace','done','2026-01-01 00:03:49.812658',-1,'{"path":"/workspace","marked":false}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,129,1,'start_agent','started','2026-01-01 00:03:49.812658',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,130,1,'start_agent','done','2026-01-01 00:03:50.335316',-1,'{"command":"failoverd agent","boot_id_before":"9y5vsq634gzd"}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,131,1,'await_heartbeat','started','2026-01-01 00:03:50.335316',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,132,1,'await_heartbeat','waiting','2026-01-01 00:03:50.335316',-1,'{}',NULL,'the new agent has not been heard yet','2026-01-01 00:03:50.535316');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,133,1,'await_heartbeat','started','2026-01-01 00:03:50.535316',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,134,1,'await_heartbeat','waiting','2026-01-01 00:03:50.535316',-1,'{}',NULL,'the new agent has not been heard yet','2026-01-01 00:03:50.735316');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,135,1,'await_heartbeat','started','2026-01-01 00:03:50.735316',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,136,1,'await_heartbeat','waiting','2026-01-01 00:03:50.735316',-1,'{}',NULL,'the new agent has not been heard yet','2026-01-01 00:03:50.935316');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,137,1,'await_heartbeat','started','2026-01-01 00:03:50.935316',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,138,1,'await_heartbeat','waiting','2026-01-01 00:03:50.935316',-1,'{}',NULL,'the new agent has not been heard yet','2026-01-01 00:03:51.135316');
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,139,1,'await_heartbeat','started','2026-01-01 00:03:51.135316',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,140,1,'await_heartbeat','done','2026-01-01 00:03:51.135316',-1,'{"boot_id":"35c5cfpq8nvs","heard_over":"heartbeat"}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,141,1,'hand_over','started','2026-01-01 00:03:51.135316',-1,'{}',NULL,NULL,NULL);
INSERT INTO "journal" VALUES('fo_54g6zyqdkh',2,142,1,'hand_over','done','2026-01-01 00:03:51.135316',-1,'{"instance":7002}',NULL,NULL,NULL);
CREATE TABLE leases (
	name TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	renewals BIGINT NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('fleet','replica-0',68);
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
INSERT INTO "machines" VALUES(1,'machine-1','recovered',18,1,'warm_pool','on',1,7002,178,3,0,'{"host":"127.0.0.1","port":40023}','ssh-ed25519 simulated-host-key-of-7002','/workspace','{"image":"pytorch/pytorch:latest","disk_gb":32.0,"gpu_name":"RTX 4090","num_gpus":1,"env":{"FAILOVERD_MACHINE_ID":"1"},"onstart":"failoverd agent --machine-id 1 --interval 10 --kafka broker:9092 --detach\nserve","runtype":"ssh_direc ssh_proxy","image_login":null,"ssh_keys":[],"max_price":null,"region":null}',0,10.0,'35c5cfpq8nvs',NULL,'instance 7002 took over from 7001 by warm_pool','2026-01-01 00:03:51.135316',NULL,NULL,NULL,'fo_54g6zyqdkh',3.90894520547945212296e-01,'{"id":881,"path":"/workspace","replica":null}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'["2026-01-01T00:02:05.036211Z"]','{"at":"2026-01-01T00:00:00.606316Z","fence":0}',0,'{"values":{},"inherits":[],"from_file":[],"said":["auto_failover","priority","strategy"]}',NULL,NULL);
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
INSERT INTO "outbox" VALUES(3,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A312C226E616D65223A226D616368696E652D31222C227374617465223A226865616C746879222C2262656361757365223A22616E206F70657261746F72206E616D65642069747320696E7374616E6365222C2273696E6365223A22323032362D30312D30315430303A30303A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMDowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:00:10.000000');
INSERT INTO "outbox" VALUES(4,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A312C226E616D65223A226D616368696E652D31222C227374617465223A226865616C746879222C2262656361757365223A22616E206F70657261746F72206E616D65642069747320696E7374616E6365222C2273696E6365223A22323032362D30312D30315430303A30303A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjEtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMDowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:00:10.000000');
INSERT INTO "outbox" VALUES(5,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A322C226E616D65223A226D616368696E652D31222C227374617465223A226865616C746879222C2262656361757365223A22616E206F70657261746F72206E616D65642069747320696E7374616E6365222C2273696E6365223A22323032362D30312D30315430303A30303A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjItc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMDowNi42Njk0NzkrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:00:10.000000');
INSERT INTO "outbox" VALUES(6,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A332C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226E6F7469636520616E6E6F756E63656420616E20656E643A2073687574646F776E20746865206167656E742077617320746F6C6420746F20656E64222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A226865616C746879222C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjM="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(7,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A332C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226E6F7469636520616E6E6F756E63656420616E20656E643A2073687574646F776E20746865206167656E742077617320746F6C6420746F20656E64222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A226865616C746879222C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjMtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowNS4wMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(8,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A342C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A30352E3033363231315A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A30352E3133363231315A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjQ="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowNS4xMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(9,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A342C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A30352E3033363231315A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A30352E3133363231315A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjQtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowNS4xMzYyMTErMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(10,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A352C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A30352E3033363231315A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A30352E3133363231315A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjUtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowOCswMDowMA=="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(11,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A362C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A30385A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A30382E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjYtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjowOC4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:10.000000');
INSERT INTO "outbox" VALUES(12,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A372C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A30385A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A30382E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjctc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjoxMyswMDowMA=="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:15.000000');
INSERT INTO "outbox" VALUES(13,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A382C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A31335A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A31332E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjgtc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjoxMy4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:15.000000');
INSERT INTO "outbox" VALUES(14,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A392C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A31335A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A31332E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjktc3RhdGU="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjoyMiswMDowMA=="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:25.000000');
INSERT INTO "outbox" VALUES(15,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31302C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A32305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A32322E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjEwLXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjoyMi4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:25.000000');
INSERT INTO "outbox" VALUES(16,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31312C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A32305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A32322E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjExLXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjozMyswMDowMA=="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:35.000000');
INSERT INTO "outbox" VALUES(17,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31322C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A33335A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A33332E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjEyLXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjozMy4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:35.000000');
INSERT INTO "outbox" VALUES(18,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31332C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A226F6E6C79206F6E6520736F757263653A207468652070726F7669646572207361797320737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A33335A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A33332E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjEzLXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjo0NCswMDowMA=="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:45.000000');
INSERT INTO "outbox" VALUES(19,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31342C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A2273696C656E742C20616E6420666F722033302073207468652070726F766964657220736179733A20737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A34305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A34342E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE0"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjo0NC4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:45.000000');
INSERT INTO "outbox" VALUES(20,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31342C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A2273696C656E742C20616E6420666F722033302073207468652070726F766964657220736179733A20737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A302C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A34305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A34342E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE0LXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjo0NC4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:45.000000');
INSERT INTO "outbox" VALUES(21,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C226D616368696E655F6964223A312C2277686174223A22626567616E222C2274726967676572223A226865617274626561745F6C6F7374222C2266656E6365223A312C227374726174656779223A227265706169725F7072696D617279222C2273756363657373223A6E756C6C2C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B7D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTRnNnp5cWRraC1iZWdhbi0w"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMjo0NC4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:45.000000');
INSERT INTO "outbox" VALUES(22,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31352C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A2273696C656E742C20616E6420666F722033302073207468652070726F766964657220736179733A20737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F737368293B20746865207072696D617279206973207265626F6F746564206F6E6365206669727374222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A34305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A34342E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE1"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjo0NC4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:45.000000');
INSERT INTO "outbox" VALUES(23,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31352C226E616D65223A226D616368696E652D31222C227374617465223A22646574656374696E67222C2262656361757365223A2273696C656E742C20616E6420666F722033302073207468652070726F766964657220736179733A20737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F737368293B20746865207072696D617279206973207265626F6F746564206F6E6365206669727374222C2273696E6365223A22323032362D30312D30315430303A30323A30352E3033363231312B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A34305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A34342E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE1LXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMjo0NC4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:45.000000');
INSERT INTO "outbox" VALUES(24,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C226D616368696E655F6964223A312C2277686174223A22617474656D70745F626567616E222C2274726967676572223A226865617274626561745F6C6F7374222C2266656E6365223A312C227374726174656779223A227265706169725F7072696D617279222C2273756363657373223A6E756C6C2C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B7D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTRnNnp5cWRraC1hdHRlbXB0X2JlZ2FuLTE="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMjo0NC4xMDAwMDArMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:02:45.000000');
INSERT INTO "outbox" VALUES(25,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31362C226E616D65223A226D616368696E652D31222C227374617465223A227761726D5F706F6F6C5F617474656D7074222C2262656361757365223A2261646D69747465642C20616E642074686973207374726174656779206973206E657874222C2273696E6365223A22323032362D30312D30315430303A30333A30352E3132393530352B30303A3030222C2270726576696F75735F7374617465223A22646574656374696E67222C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A34305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A34342E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE2"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMzowNS4xMjk1MDUrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:03:10.000000');
INSERT INTO "outbox" VALUES(26,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31362C226E616D65223A226D616368696E652D31222C227374617465223A227761726D5F706F6F6C5F617474656D7074222C2262656361757365223A2261646D69747465642C20616E642074686973207374726174656779206973206E657874222C2273696E6365223A22323032362D30312D30315430303A30333A30352E3132393530352B30303A3030222C2270726576696F75735F7374617465223A22646574656374696E67222C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A34305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A34342E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE2LXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMzowNS4xMjk1MDUrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:03:10.000000');
INSERT INTO "outbox" VALUES(27,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C226D616368696E655F6964223A312C2277686174223A22617474656D70745F656E646564222C2274726967676572223A226865617274626561745F6C6F7374222C2266656E6365223A312C227374726174656779223A227265706169725F7072696D617279222C2273756363657373223A66616C73652C226572726F72223A227072696D6172795F6E6F745F7265737461727461626C65222C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B7D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTRnNnp5cWRraC1hdHRlbXB0X2VuZGVkLTE="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMzowNS4xMjk1MDUrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:03:10.000000');
INSERT INTO "outbox" VALUES(28,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C226D616368696E655F6964223A312C2277686174223A22617474656D70745F626567616E222C2274726967676572223A226865617274626561745F6C6F7374222C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C2273756363657373223A6E756C6C2C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B7D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTRnNnp5cWRraC1hdHRlbXB0X2JlZ2FuLTI="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMzowNS4xMjk1MDUrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:03:10.000000');
INSERT INTO "outbox" VALUES(29,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31372C226E616D65223A226D616368696E652D31222C227374617465223A227761726D5F706F6F6C5F617474656D7074222C2262656361757365223A2261646D69747465642C20616E642074686973207374726174656779206973206E657874222C2273696E6365223A22323032362D30312D30315430303A30333A30352E3132393530352B30303A3030222C2270726576696F75735F7374617465223A6E756C6C2C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030312C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032322C226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C2265766964656E6365223A5B7B22736F75726365223A2270726F7669646572222C22776F7264223A2263726173686564222C2264657461696C223A22737461747573206578697465642C20696E74656E6465642072756E6E696E672028737563636573732C2072756E6E696E67207079746F7263682F7079746F7263683A6C61746573742F73736829222C226174223A22323032362D30312D30315430303A30323A34305A227D2C7B22736F75726365223A22737368222C22776F7264223A22756E6B6E6F776E222C2264657461696C223A227468652053534820706F727420697320726566757365642C20627574206E6F206F7468657220686F737420616E737765726564207573222C226174223A22323032362D30312D30315430303A30323A34342E3130303030305A227D5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE3LXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMzowNS4yMDAxNTMrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:03:10.000000');
INSERT INTO "outbox" VALUES(30,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C226D616368696E655F6964223A312C2277686174223A2266656E636564222C2274726967676572223A226865617274626561745F6C6F7374222C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C2273756363657373223A6E756C6C2C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B226772616465223A2273746F70706564222C2270726F6F66223A226F75722073746F70207761732061636365707465643B2072656164206261636B3A206578697465642C20696E74656E6465642073746F70706564227D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTRnNnp5cWRraC1mZW5jZWQtMA=="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMzowNS4yMDAxNTMrMDA6MDA="],["ce_subject","MQ=="]]',NULL,'2026-01-01 00:03:10.000000');
INSERT INTO "outbox" VALUES(31,'failover.events.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31382C226E616D65223A226D616368696E652D31222C227374617465223A227265636F7665726564222C2262656361757365223A22696E7374616E6365203730303220746F6F6B206F7665722066726F6D2037303031206279207761726D5F706F6F6C222C2273696E6365223A22323032362D30312D30315430303A30333A35312E3133353331362B30303A3030222C2270726576696F75735F7374617465223A227761726D5F706F6F6C5F617474656D7074222C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030322C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032332C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE4"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMzo1MS4xMzUzMTYrMDA6MDA="],["ce_subject","MQ=="]]',NULL,NULL);
INSERT INTO "outbox" VALUES(32,'failover.machines.v1',X'31',X'7B226D616368696E655F6964223A312C2276657273696F6E223A31382C226E616D65223A226D616368696E652D31222C227374617465223A227265636F7665726564222C2262656361757365223A22696E7374616E6365203730303220746F6F6B206F7665722066726F6D2037303031206279207761726D5F706F6F6C222C2273696E6365223A22323032362D30312D30315430303A30333A35312E3133353331362B30303A3030222C2270726576696F75735F7374617465223A227761726D5F706F6F6C5F617474656D7074222C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C226175746F5F6661696C6F766572223A226F6E222C226770755F696E7374616E63655F6964223A373030322C227373685F686F7374223A223132372E302E302E31222C227373685F706F7274223A34303032332C226661696C6F7665725F6964223A6E756C6C2C2265766964656E6365223A5B5D2C226370755F766D5F686F7374223A6E756C6C2C226370755F766D5F706F7274223A6E756C6C7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","bTEtdjE4LXN0YXRl"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLm1hY2hpbmUuY2hhbmdlZC52MQ=="],["ce_time","MjAyNi0wMS0wMVQwMDowMzo1MS4xMzUzMTYrMDA6MDA="],["ce_subject","MQ=="]]',NULL,NULL);
INSERT INTO "outbox" VALUES(33,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C226D616368696E655F6964223A312C2277686174223A22617474656D70745F656E646564222C2274726967676572223A226865617274626561745F6C6F7374222C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C2273756363657373223A747275652C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A6E756C6C2C2264657461696C223A7B7D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTRnNnp5cWRraC1hdHRlbXB0X2VuZGVkLTI="],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMzo1MS4xMzUzMTYrMDA6MDA="],["ce_subject","MQ=="]]',NULL,NULL);
INSERT INTO "outbox" VALUES(34,'failover.events.v1',X'31',X'7B226661696C6F7665725F6964223A22666F5F353467367A7971646B68222C226D616368696E655F6964223A312C2277686174223A22656E646564222C2274726967676572223A226865617274626561745F6C6F7374222C2266656E6365223A312C227374726174656779223A227761726D5F706F6F6C222C2273756363657373223A747275652C226572726F72223A6E756C6C2C226E65775F6770755F696E7374616E63655F6964223A373030322C2264657461696C223A7B22776879223A6E756C6C2C2273657474696E67223A227761726D5F706F6F6C227D7D','[["content-type","YXBwbGljYXRpb24vanNvbg=="],["ce_specversion","MS4w"],["ce_id","Zm9fNTRnNnp5cWRraC1lbmRlZC0w"],["ce_source","L2ZhaWxvdmVyZC9mby1obXZldnc="],["ce_type","aW8uZmFpbG92ZXJkLmZhaWxvdmVyLmNoYW5nZWQudjE="],["ce_time","MjAyNi0wMS0wMVQwMDowMzo1MS4xMzUzMTYrMDA6MDA="],["ce_subject","MQ=="]]',NULL,NULL);
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
INSERT INTO "rentals" VALUES(7002,1,NULL,1,'2026-01-01 00:03:51.135316');
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
INSERT INTO "sqlite_sequence" VALUES('outbox',34);
COMMIT;
