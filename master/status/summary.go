package status

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/preforkd/preforkd/master/admit"
)

// LogSummary writes the state of the master and of each service to the log, on
// the loop.
func LogSummary(r *Rooms, log *zap.Logger) {
	all := r.Totals
	for _, s := range r.Unused {
		all.Add(s.Totals())
	}
	for _, s := range r.Services {
		all.Add(s.Totals())
	}
	log.Info("status", append(all.Fields(), zap.Uint64("live", all.Live()), zap.String("state", r.State))...)
	for _, s := range r.Services {
		counts, spec := s.Gate.Counts(), s.Spec()
		fields := append(s.Totals().Fields(),
			zap.Int("slots_taken", counts.Held+counts.Reserved), zap.Int("slots", counts.Limit),
			zap.Int("sources", counts.Sources), zap.Int("penalized", counts.Penalized),
			zap.Object("refused_by_reason", refusedByReason(counts.Refused)))
		if spec.MaxSpares > 0 {
			ready, starting := r.Dispatcher.Pool(spec).Counts()
			fields = append(fields, zap.Int("spares", ready), zap.Int("spares_starting", starting))
		}
		s.Log.Info("status", fields...)
	}
}

// refusedByReason shows the reasons that there were.
type refusedByReason [admit.Reasons]uint64

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (r refusedByReason) MarshalLogObject(to zapcore.ObjectEncoder) error {
	for reason := range admit.Reasons {
		if r[reason] > 0 {
			to.AddUint64(reason.String(), r[reason])
		}
	}
	return nil
}
