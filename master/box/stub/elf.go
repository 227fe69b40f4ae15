package stub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// baseAddress is where an image is mapped: the usual place of a program that
// cannot be moved. An image needs no relocation, because its addresses are
// constants.
const baseAddress = 0x400000

// segmentAlignment is a multiple of every page size that Linux has on the two
// architectures (4, 16 and 64 KiB).
const segmentAlignment = 0x10000

// headersSize is what comes before the data of an image: the header of the file
// and of two segments.
const headersSize = 64 + 2*56

// dataAddress is the address of the first byte of data.
const dataAddress = baseAddress + headersSize

// executable returns an ELF file (elf(5)). It has one segment, which is mapped for
// reading and executing: with one mapping execve is cheapest. There is nothing to
// write to but the stack, and the stack cannot be executed.
func executable(machine elf.Machine, data, code []byte) []byte {
	data = align(data)
	size := uint64(headersSize + len(data) + len(code))
	header := elf.Header64{
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(machine),
		Version:   uint32(elf.EV_CURRENT),
		Entry:     dataAddress + uint64(len(data)),
		Phoff:     64,
		Ehsize:    64,
		Phentsize: 56,
		Phnum:     2,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	load := elf.Prog64{
		Type:   uint32(elf.PT_LOAD),
		Flags:  uint32(elf.PF_R | elf.PF_X),
		Vaddr:  baseAddress,
		Paddr:  baseAddress,
		Filesz: size,
		Memsz:  size,
		Align:  segmentAlignment,
	}
	stack := elf.Prog64{
		Type:  uint32(elf.PT_GNU_STACK),
		Flags: uint32(elf.PF_R | elf.PF_W),
		Align: 16,
	}
	var image bytes.Buffer
	for _, part := range []any{header, load, stack, data, code} {
		binary.Write(&image, binary.LittleEndian, part) // a buffer takes everything
	}
	return image.Bytes()
}

// align adds zeros up to a multiple of 8 bytes. The headers are such a multiple,
// too, so that data begins at an address that is aligned for every type.
func align(data []byte) []byte {
	for len(data)%8 != 0 {
		data = append(data, 0)
	}
	return data
}
