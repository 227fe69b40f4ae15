/* The least that can be spawned: its cost is the kernel's. */
int main(void)
{
	return 0;
}
