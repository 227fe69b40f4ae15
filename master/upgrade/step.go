package upgrade

// A Step is one of those that package upgrade documents.
type Step string

// The steps, in their order.
const (
	StepBinary    Step = "binary"
	StepExport    Step = "export"
	StepRehearsal Step = "rehearsal"
	StepExec      Step = "exec"
	StepLoad      Step = "load"
	StepConfig    Step = "config"
	StepRestore   Step = "restore"
	StepInstall   Step = "install"
	StepServe     Step = "serve"
)
