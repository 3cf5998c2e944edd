//! Words of other tools, and what a spec says instead: of compose files, Copilot manifests, Kubernetes,
//! Terraform and CloudFormation.

use crate::{suggest::plain, tree::Node};

/// A word of another tool.
pub(crate) struct Word {
    /// As others write it, in small letters without `_` and `-`.
    theirs: &'static str,
    /// The field of ours, if one says the same.
    pub(crate) ours: &'static str,
    /// What to write. `%` stands for the value that is written, if it is a single one.
    say: &'static str,
    /// What stands for `%` otherwise.
    example: &'static str,
}

impl Word {
    /// What to write in place of the word.
    pub(crate) fn told(&self, value: &Node) -> String {
        let value = value.text().filter(|text| !text.is_empty() && text.len() <= 40);
        self.say.replace('%', value.unwrap_or(self.example))
    }
}

const fn word(theirs: &'static str, ours: &'static str, say: &'static str) -> Word {
    Word { theirs, ours, say, example: "…" }
}

const fn with(theirs: &'static str, ours: &'static str, say: &'static str, example: &'static str) -> Word {
    Word { theirs, ours, say, example }
}

const DESIRED: &str = "`desired` says how many tasks run: `desired: %`";
const ENVIRONMENT: &str = "write `environment: { NAME: value }`";
const AFTER: &str = "`after` says what comes first: `after: [db]`";
const CHECK: &str = "a container's own check is `check: { command: [CMD-SHELL, \"curl -f localhost\"] }`, a balancer's \
                     `health: { path: / }`";
const HEALTH: &str = "write `health: { path: / }`, which a balancer asks";
const MOUNTS: &str =
    "write `mounts: { /data: \"${fileSystems.data}\" }`, and `fileSystems: { data: {} }` beside `services`";
const SECRETS: &str = "write a secret into `environment`, `PASSWORD: ${secrets.db.password}`, and `secrets: { db: {} }` \
                       beside `services`";
const PORTS: &str = "write `ports: [%]`";
const BUILD: &str = "an image is built and pushed elsewhere: write `repositories: { app: {} }` beside `services`, and \
                     `image: \"${repositories.app}:latest\"`";
const RESTART: &str = "ECS starts a task again that has ended; leave it out";
const REACH: &str = "services of an environment reach each other at `${services.x.host}`; leave it out";
const SIZES: &str = "write `cpu: 256`, where 1024 are one vCPU, and `memory: 512`, in MiB";
const BALANCER: &str = "a service answers where a listener names it: `loadBalancers: { public: { type: application, scheme: \
                        internet-facing, listeners: { http: { port: 80, default: \"${services.x}\" } } } }`";
const ROLE: &str =
    "write `role: { allow: [{ actions: [s3:GetObject], resources: [\"${buckets.x.arn}/*\"] }] }`";
const LOGS: &str = "output goes to CloudWatch Logs anyway; `logs: { retention: 30d }` says for how long";
const PLACE: &str =
    "`placement: public` or `private` says in which subnets tasks run, and groups follow from `ports`";
const CAPACITY: &str = "`cluster: { capacity: fargate }`, beside `services`, says what tasks run on";
const ENV_FILE: &str = "a spec reads no other files; write the variables into `environment`";
const USELESS: &str = "this has no counterpart in a spec; leave it out";

/// Of a service, its sidecars, and jobs.
const OF_TASKS: &[Word] = &[
    with("replicas", "desired", DESIRED, "2"),
    with("replicacount", "desired", DESIRED, "2"),
    with("count", "desired", DESIRED, "2"),
    with("desiredcount", "desired", DESIRED, "2"),
    with("instances", "desired", DESIRED, "2"),
    with("instancecount", "desired", DESIRED, "2"),
    with("tasks", "desired", DESIRED, "2"),
    word("env", "environment", ENVIRONMENT),
    word("envs", "environment", ENVIRONMENT),
    word("envvars", "environment", ENVIRONMENT),
    word("vars", "environment", ENVIRONMENT),
    word("variables", "environment", ENVIRONMENT),
    word("environmentvariables", "environment", ENVIRONMENT),
    word("envfile", "environment", ENV_FILE),
    word("environmentfiles", "environment", ENV_FILE),
    word("envfrom", "environment", ENV_FILE),
    word("dependson", "after", AFTER),
    word("depends", "after", AFTER),
    word("requires", "after", AFTER),
    word("needs", "after", AFTER),
    word("healthcheck", "check", CHECK),
    word("livenessprobe", "check", CHECK),
    word("readinessprobe", "health", HEALTH),
    word("startupprobe", "gracePeriod", "write `gracePeriod: 60s`"),
    word("healthcheckpath", "health", HEALTH),
    word("healthcheckgraceperiod", "gracePeriod", "write `gracePeriod: 60s`"),
    word("healthcheckgraceperiodseconds", "gracePeriod", "write `gracePeriod: 60s`"),
    word("volumes", "mounts", MOUNTS),
    word("volume", "mounts", MOUNTS),
    word("volumemounts", "mounts", MOUNTS),
    word("mountpoints", "mounts", MOUNTS),
    word("storage", "mounts", MOUNTS),
    word("tmpfs", "", USELESS),
    word("secrets", "environment", SECRETS),
    word("secret", "environment", SECRETS),
    with("port", "ports", PORTS, "80"),
    with("containerport", "ports", PORTS, "80"),
    with("targetport", "ports", PORTS, "80"),
    with("expose", "ports", PORTS, "80"),
    with("portmappings", "ports", PORTS, "80"),
    word("build", "image", BUILD),
    word("dockerfile", "image", BUILD),
    word("restart", "", RESTART),
    word("restartpolicy", "", RESTART),
    word("containername", "", "the service is called after its key; leave it out, or write `name: %`"),
    word("hostname", "", REACH),
    word("links", "", REACH),
    word("networks", "", REACH),
    word("network", "", REACH),
    word("servicediscovery", "", REACH),
    word("serviceconnect", "", REACH),
    word("memlimit", "memory", SIZES),
    word("memreservation", "memoryReservation", "write `memoryReservation: 256`, in MiB"),
    word("cpus", "cpu", SIZES),
    word("resources", "", SIZES),
    word("limits", "", SIZES),
    word(
        "deploy",
        "",
        "write `desired: 2`, `cpu: 256`, `memory: 512` and `deployment: { minimum: 100, maximum: 200 }`",
    ),
    word("strategy", "deployment", "write `deployment: { minimum: 100, maximum: 200 }`"),
    word("deploymentconfiguration", "deployment", "write `deployment: { minimum: 100, maximum: 200 }`"),
    word(
        "args",
        "command",
        "`entryPoint` says what is started, and `command` with what: `command: [serve, --port, \"80\"]`",
    ),
    word("cmd", "command", "write `command: [npm, start]`"),
    word("ulimits", "openFiles", "write `openFiles: 65535`; the other limits are the platform's"),
    word("nofile", "openFiles", "write `openFiles: 65535`"),
    word("stopgraceperiod", "stopTimeout", "write `stopTimeout: 30s`"),
    word("terminationgraceperiodseconds", "stopTimeout", "write `stopTimeout: 30s`"),
    word("platform", "architecture", "write `architecture: arm64`, or `x86_64`"),
    word("cpuarchitecture", "architecture", "write `architecture: arm64`, or `x86_64`"),
    word("runtimeplatform", "architecture", "write `architecture: arm64`, or `x86_64`"),
    word("logging", "logs", LOGS),
    word("log", "logs", LOGS),
    word("logconfiguration", "logs", LOGS),
    word("logretention", "logs", LOGS),
    word("taskrolearn", "role", ROLE),
    word("taskrole", "role", ROLE),
    word("iamrole", "role", ROLE),
    word("permissions", "role", ROLE),
    word("policies", "role", ROLE),
    word("iam", "role", ROLE),
    word("serviceaccountname", "role", ROLE),
    word("executionrolearn", "", "the role that starts tasks is made with the service; leave it out"),
    word("executionrole", "", "the role that starts tasks is made with the service; leave it out"),
    word("autoscaling", "scale", "write `scale: { min: 2, max: 10, cpu: 60 }`"),
    word("hpa", "scale", "write `scale: { min: 2, max: 10, cpu: 60 }`"),
    word("http", "", BALANCER),
    word("nlb", "", BALANCER),
    word("alb", "", BALANCER),
    word("ingress", "", BALANCER),
    word("loadbalancer", "", BALANCER),
    word("loadbalancers", "", BALANCER),
    word("targetgrouparn", "", BALANCER),
    word("path", "", BALANCER),
    word("domain", "", BALANCER),
    word("launchtype", "", CAPACITY),
    word("capacityproviderstrategy", "", CAPACITY),
    word("cluster", "", CAPACITY),
    word("networkconfiguration", "placement", PLACE),
    word("awsvpcconfiguration", "placement", PLACE),
    word("subnets", "placement", PLACE),
    word("securitygroups", "placement", PLACE),
    word("assignpublicip", "placement", PLACE),
    word(
        "taskdefinition",
        "",
        "write what the task definition says here: `image`, `cpu`, `memory`, `ports`, `environment`",
    ),
    word(
        "containerdefinitions",
        "",
        "write the container's fields here, and other containers under `sidecars`",
    ),
    word(
        "containers",
        "sidecars",
        "write the main container's fields here, and other containers under `sidecars`",
    ),
    word(
        "initcontainers",
        "sidecars",
        "write `sidecars: { init: { image: …, essential: false, before: completed } }`",
    ),
    word("enableexecutecommand", "exec", "write `exec: true`"),
    word(
        "schedule",
        "",
        "a spec has no scheduled jobs yet; `schedule` beside `services` rebuilds the whole environment",
    ),
    word("workingdir", "", "the image says it: WORKDIR in its Dockerfile; leave it out"),
    word("privileged", "", USELESS),
    word("capadd", "", USELESS),
    word("capdrop", "", USELESS),
    word("stdinopen", "", USELESS),
    word("tty", "", USELESS),
    word("init", "", USELESS),
    word("profiles", "", USELESS),
    word("extrahosts", "", USELESS),
    word("networkmode", "networkMode", "write `networkMode: awsvpc`, or `bridge` on instances"),
];

/// Of the spec itself.
const OF_SPEC: &[Word] = &[
    word("version", "", "a spec begins with `apiVersion: plinth/v1`; leave `version` out"),
    word(
        "volumes",
        "fileSystems",
        "write `fileSystems: { data: {} }`, and in a service `mounts: { /data: \"${fileSystems.data}\" }`",
    ),
    word("efs", "fileSystems", "write `fileSystems: { data: {} }`"),
    word("networks", "network", "write `network: {}`; services of an environment reach each other anyway"),
    word(
        "vpc",
        "network",
        "write `network: { cidr: 10.0.0.0/16 }`, or `network: { vpc: vpc-0abc, private: [subnet-0abc] }`",
    ),
    word("configs", "", "write what is configured into a service's `environment`"),
    word("environments", "", "a file describes one environment; write one for each"),
    word("environment", "", "write `environment` inside each service"),
    word("env", "", "write `environment` inside each service"),
    word("variables", "", "write `environment` inside each service"),
    word("stage", "name", "write `name: %`"),
    word("project", "name", "write `name: %`"),
    word(
        "account",
        "",
        "the account is the control plane's, or that of `role: arn:aws:iam::123456789012:role/…`",
    ),
    word("rds", "databases", "write `databases: { main: { engine: postgres, … } }`"),
    word("db", "databases", "write `databases: { main: { engine: postgres, … } }`"),
    word("postgres", "databases", "write `databases: { main: { engine: postgres, … } }`"),
    word("aurora", "databases", "write `databases: { main: { engine: aurora-postgresql, … } }`"),
    word("s3", "buckets", "write `buckets: { files: {} }`"),
    word("ecr", "repositories", "write `repositories: { app: {} }`"),
    word("alb", "loadBalancers", "write `loadBalancers: { public: { type: application, … } }`"),
    word("nlb", "loadBalancers", "write `loadBalancers: { public: { type: network, … } }`"),
    word("elb", "loadBalancers", "write `loadBalancers: { public: { type: application, … } }`"),
    word("ingress", "loadBalancers", "write `loadBalancers: { public: { type: application, … } }`"),
    word("route53", "dns", "write `dns: { example.com: { records: { www: \"${loadBalancers.public}\" } } }`"),
    word("domain", "dns", "write `dns: { example.com: { records: { www: \"${loadBalancers.public}\" } } }`"),
    word("domains", "dns", "write `dns: { example.com: { records: { www: \"${loadBalancers.public}\" } } }`"),
    word(
        "hostedzones",
        "dns",
        "write `dns: { example.com: { records: { www: \"${loadBalancers.public}\" } } }`",
    ),
    word("acm", "certificates", "write `certificates: { main: { domain: example.com } }`"),
    word("iam", "roles", "write `roles: { app: { assumedBy: [ecs-tasks.amazonaws.com], allow: […] } }`"),
    word("kms", "key", "write `key: {}`"),
    word("kmskey", "key", "write `key: {}`"),
    word(
        "apigateway",
        "apis",
        "write `apis: { main: { link: \"${loadBalancers.internal}\", routes: { GET /: {} } } }`",
    ),
    word("lambda", "functions", "write `functions: { hello: { zip: s3://bucket/key } }`"),
    word("lambdas", "functions", "write `functions: { hello: { zip: s3://bucket/key } }`"),
    word(
        "tasks",
        "jobs",
        "a task that runs once is one of `jobs`, and one that keeps running one of `services`",
    ),
    word(
        "cronjobs",
        "jobs",
        "a spec has no scheduled jobs yet; `jobs: { x: { image: …, when: manual } }` are started by others",
    ),
    word("containers", "services", "write `services: { web: { image: nginx } }`"),
    word("apps", "services", "write `services: { web: { image: nginx } }`"),
    word("workers", "services", "write `services: { worker: { image: … } }`"),
    word("healthchecks", "checks", "write `checks: [https://example.com/]`"),
    word("ttl", "expires", "write `expires: { after: 8h }`"),
];

const OF_DATABASES: &[Word] = &[
    word("size", "instance", "write `instance: db.t4g.micro`"),
    with("class", "instance", "write `instance: %`", "db.t4g.micro"),
    with("instanceclass", "instance", "write `instance: %`", "db.t4g.micro"),
    with("dbinstanceclass", "instance", "write `instance: %`", "db.t4g.micro"),
    word("instancetype", "instance", "write `instance: db.t4g.micro`"),
    with("allocatedstorage", "storage", "write `storage: %`, in GiB", "20"),
    with("disk", "storage", "write `storage: %`, in GiB", "20"),
    with("engineversion", "version", "write `version: %`", "16"),
    word("multiaz", "multiZone", "write `multiZone: true`"),
    word("backupretention", "backups", "write `backups: 7d`"),
    word("backupretentionperiod", "backups", "write `backups: 7d`"),
    with("dbname", "database", "write `database: %`", "app"),
    with("databasename", "database", "write `database: %`", "app"),
    word("username", "credentials", CREDENTIALS),
    word("user", "credentials", CREDENTIALS),
    word("masterusername", "credentials", CREDENTIALS),
    word("masteruser", "credentials", CREDENTIALS),
    word("password", "credentials", CREDENTIALS),
    word("masterpassword", "credentials", CREDENTIALS),
    word("masteruserpassword", "credentials", CREDENTIALS),
    word("deletionprotection", "protect", "write `protect: true`"),
    word("snapshot", "restore", "write `restore: %`, a snapshot's name"),
    word("snapshotidentifier", "restore", "write `restore: %`, a snapshot's name"),
    word("skipfinalsnapshot", "finalSnapshot", "write `finalSnapshot: false` for none"),
    word("storageencrypted", "", "databases are always encrypted; leave it out"),
    word("publiclyaccessible", "", "databases are open to the environment's services alone; leave it out"),
];

const CREDENTIALS: &str = "write `credentials: \"${secrets.db}\"`, and `secrets: { db: { generate: { username: app } } }` beside `databases`";

const OF_BALANCERS: &[Word] = &[
    word("internal", "scheme", "write `scheme: internal`, or `internet-facing`"),
    word("public", "scheme", "write `scheme: internet-facing`, or `internal`"),
    word("ports", "listeners", "write `listeners: { http: { port: 80, default: \"${services.web}\" } }`"),
    word("targets", "listeners", "write `listeners: { http: { port: 80, default: \"${services.web}\" } }`"),
    word(
        "targetgroups",
        "listeners",
        "a target group follows from a listener: `default: \"${services.web}\"`",
    ),
    word("subnets", "scheme", "subnets follow from `scheme`; leave it out"),
    word("securitygroups", "", "security groups follow from the listeners' ports; leave it out"),
];

const OF_LISTENERS: &[Word] = &[
    word("defaultaction", "default", "write `default: \"${services.web}\"`"),
    word("defaultactions", "default", "write `default: \"${services.web}\"`"),
    word("target", "default", "write `default: \"${services.web}\"`"),
    word("to", "default", "write `default: \"${services.web}\"`"),
    word("forward", "default", "write `default: \"${services.web}\"`"),
    word("certificate", "certificates", "write `certificates: [\"${certificates.main}\"]`"),
    word("certificatearn", "certificates", "write `certificates: [arn:aws:acm:…]`"),
    word("tls", "certificates", "write `certificates: [\"${certificates.main}\"]`"),
];

const OF_NETWORKS: &[Word] = &[
    word("subnets", "private", "write `public: […]` and `private: […]`"),
    word("publicsubnets", "public", "write `public: […]`"),
    word("privatesubnets", "private", "write `private: […]`"),
    word("azs", "zones", "`zones: 2` says over how many zones subnets are spread"),
    word("availabilityzones", "zones", "`zones: 2` says over how many zones subnets are spread"),
    word("maxazs", "zones", "`zones: 2` says over how many zones subnets are spread"),
    word("natgateways", "nat", "write `nat: single`, `per-zone` or `none`"),
    word("natgateway", "nat", "write `nat: single`, `per-zone` or `none`"),
    word("enablenatgateway", "nat", "write `nat: single`, `per-zone` or `none`"),
    word("singlenatgateway", "nat", "write `nat: single`, `per-zone` or `none`"),
    word("cidrblock", "cidr", "write `cidr: %`"),
    word("vpcid", "vpc", "write `vpc: %`"),
];

const OF_SCALES: &[Word] = &[
    with("mincapacity", "min", "write `min: %`", "1"),
    with("minreplicas", "min", "write `min: %`", "1"),
    with("maxcapacity", "max", "write `max: %`", "4"),
    with("maxreplicas", "max", "write `max: %`", "4"),
    word("range", "max", "write `min: 1` and `max: 10`"),
    word("cpupercentage", "cpu", "write `cpu: 60`"),
    word("targetcpuutilizationpercentage", "cpu", "write `cpu: 60`"),
    word("memorypercentage", "memory", "write `memory: 60`"),
];

const OF_CHECKS: &[Word] = &[
    word("test", "command", "write `command: [CMD-SHELL, \"curl -f localhost\"]`"),
    word("path", "", "a path is asked by a balancer: write `health: { path: / }` in the service"),
];

const OF_HEALTHS: &[Word] = &[
    word("command", "", "a command is run by ECS: write `check: { command: [CMD-SHELL, …] }` in the service"),
    word("matcher", "status", "write `status: \"200-399\"`"),
    word("successcodes", "status", "write `status: \"200-399\"`"),
];

const OF_BUCKETS: &[Word] = &[
    word("versioning", "versioned", "write `versioned: true`"),
    word("lifecycle", "expire", "write `expire: 30d`"),
    word("lifecyclerules", "expire", "write `expire: 30d`"),
    word("forcedestroy", "forceDelete", "write `forceDelete: true`"),
    word("bucket", "name", "write `name: %`"),
    word("bucketname", "name", "write `name: %`"),
    word("acl", "", "buckets are closed to the public; leave it out"),
    word("encryption", "", "buckets are always encrypted; leave it out"),
];

const OF_LOGS: &[Word] = &[
    word("retentionindays", "retention", "write `retention: 30d`"),
    word("days", "retention", "write `retention: 30d`"),
    word("loggroup", "group", "write `group: %`"),
];

const OF_STATEMENTS: &[Word] = &[
    word("action", "actions", "write `actions: [s3:GetObject]`"),
    word("resource", "resources", "write `resources: [\"${buckets.x.arn}/*\"]`"),
    word("effect", "", "what isn't allowed is denied; leave it out"),
];

/// What a word of another tool means in this part of the schema.
pub(crate) fn word_for(part: &str, written: &str) -> Option<&'static Word> {
    let words = match part {
        "Spec" => OF_SPEC,
        "Service" | "Sidecar" | "Job" => OF_TASKS,
        "Database" => OF_DATABASES,
        "Balancer" => OF_BALANCERS,
        "Listener" => OF_LISTENERS,
        "Network" => OF_NETWORKS,
        "Scale" => OF_SCALES,
        "Check" => OF_CHECKS,
        "Health" => OF_HEALTHS,
        "Bucket" => OF_BUCKETS,
        "Logs" => OF_LOGS,
        "FullStatement" => OF_STATEMENTS,
        _ => return None,
    };
    let written: String = plain(written).into_iter().collect();
    words.iter().find(|word| word.theirs == written)
}

/// What a whole file of another tool is, and how it is said in a spec. Of a compose file the parts are told too.
pub(crate) struct File {
    pub(crate) message: String,
    /// Whether it is near enough to a spec that its parts are looked at.
    pub(crate) near: bool,
}

/// Whether a text is a file of another tool.
pub(crate) fn file(root: &Node) -> Option<File> {
    let has = |key: &str| root.field(key).is_some();
    let ours = root.field("apiVersion").and_then(Node::text).is_some_and(|text| text.starts_with("plinth"));
    if ours {
        return None;
    }
    if let Some(message) = root.text().and_then(crate::syntax::language) {
        return Some(File { message, near: false });
    }
    let far = |message: &str| Some(File { message: message.to_owned(), near: false });
    if has("kind") && (has("metadata") || has("spec") || has("apiVersion")) {
        let kind = root.field("kind").and_then(Node::text).unwrap_or("a resource");
        let kind = crate::fault::cut(kind);
        let message = format!(
            "this is {kind} of Kubernetes. In a spec a Deployment is one of `services`: `replicas` are `desired`, \
             `containerPort` is `ports`, `env` is `environment`, `resources` are `cpu` and `memory`, `readinessProbe` is \
             `health`, other containers are `sidecars`; a Service and an Ingress are a listener of `loadBalancers`, a Job \
             is one of `jobs`, a Secret one of `secrets`. Begin with `apiVersion: plinth/v1` and `name: …`"
        );
        return Some(File { message, near: false });
    }
    if has("Resources") || has("AWSTemplateFormatVersion") {
        return far(
            "this is a CloudFormation template. A spec has a section for each kind: AWS::ECS::Service and \
             TaskDefinition are `services`, AWS::RDS::DBInstance is `databases`, AWS::S3::Bucket `buckets`, AWS::ECR::Repository \
             `repositories`, AWS::ElasticLoadBalancingV2 `loadBalancers`, AWS::SecretsManager::Secret `secrets`, \
             AWS::EC2::VPC `network`; !Ref and !GetAtt are ${section.name.attribute}. Begin with `apiVersion: plinth/v1` and \
             `name: …`",
        );
    }
    if has("containerDefinitions") || (has("family") && has("cpu")) {
        return far(
            "this is an ECS task definition. In a spec its first container is one of `services`, and the others are its \
             `sidecars`: `portMappings` are `ports: [80]`, `environment` is `{ NAME: value }`, `secrets` are \
             `NAME: ${secrets.x}` in it, `mountPoints` are `mounts`, `healthCheck` is `check`, `dependsOn` is a sidecar's `before`, \
             `taskRoleArn` is `role`. Begin with `apiVersion: plinth/v1` and `name: …`",
        );
    }
    let kind = root.field("type").and_then(Node::text).unwrap_or_default();
    if (kind.ends_with(" Service") || kind.ends_with(" Job")) && has("name") {
        return far(
            "this is a Copilot manifest. In a spec a service is one of `services`, and a job one of `jobs`: `count` is \
             `desired` or `scale`, `image.port` is `ports: [80]`, `variables` are `environment`, `secrets` are `NAME: ${secrets.x}` in \
             it, `http` is a listener of `loadBalancers`, `storage.volumes` are `mounts`. Begin with `apiVersion: plinth/v1` and \
             `name: …`",
        );
    }
    let services = root.field("services").map(Node::entries).unwrap_or_default();
    let words = [
        "build",
        "container_name",
        "depends_on",
        "restart",
        "volumes",
        "healthcheck",
        "networks",
        "env_file",
        "deploy",
    ];
    let composed =
        services.iter().any(|service| words.iter().any(|word| service.value.field(word).is_some()));
    if has("services")
        && !has("apiVersion")
        && (composed || has("version") || has("volumes") || has("networks"))
    {
        return Some(File {
            message: "this looks like a compose file. Begin a spec with `apiVersion: plinth/v1` and `name: …`; `services` stay, \
                      with `ports: [80]`, `after` for `depends_on`, `check` for `healthcheck`, `mounts` for `volumes`, and no \
                      `build`, `restart` or `container_name`"
                .to_owned(),
            near: true,
        });
    }
    None
}
